"""What a teacher, a finished model, answers for the rows that another is trained on.

It is asked once a node and data set, of the rows as they are in the source; so teacher and student may be of
different families, and the teacher is as frozen as a file.

Shape legend: N rows of the data set, C classes.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainers.bundle.bundle import load_bundle, read_description
from trainers.data.dataset import Column, Dataset, EncodedDataset
from trainers.data.examples import raw_rows
from trainers.errors import InputError
from trainers.family import Family
from trainers.inputs.encoded_arrays import encode_dataset
from trainers.storage.atomic_folders import manifest_hash
from trainers.storage.shared_folders import shared_folder
from trainers.tasks.distillation import TEACHER

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

    from trainers.bundle.contents import BundleDescription
    from trainers.options import Teacher
    from trainers.types import Array, Params, State

KEY = ("options", "teacher")
ROWS_AT_ONCE = 1024
LEAST_CHANCE = 1e-30  # of a class, whose logarithm is then finite
ANSWERS = "answers.npy"


def encode_for_training(family: Family, dataset: Dataset, params: Params, cache: Path) -> EncodedDataset:
    """As `encode_dataset`; for a family with a teacher also the array `teacher` of its answers: of classes
    their log-probabilities, float32 [N, C], of a number the prediction in the target's scale, float32 [N].
    Rows of other parts than training's have zeros.

    Raises:
        InputError: as `encode_dataset`, or the family has no use for such a teacher.
    """
    encoded = encode_dataset(family, dataset, params, cache)
    teacher = family.options.teacher
    if teacher is None:
        return encoded
    _check_student(family, dataset)
    folder = Path(teacher.model)
    known = read_description(folder, manifest_sha256=teacher.sha256)
    check_teacher(known, dataset)
    found = _ask_once(teacher, folder, dataset, cache)
    return replace(encoded, arrays={**encoded.arrays, TEACHER: _as_targets(found, encoded.state)})


def _check_student(family: Family, dataset: Dataset) -> None:
    name = family.name or type(family).__name__
    if dataset.task not in ("classification", "regression"):
        must = "a teacher is for classes and numbers"
        raise InputError(must, f"task {dataset.task}", "leave it out", key=KEY)
    own = "training steps" if type(family).train_step is not Family.train_step else "loss"
    if own == "training steps" or (type(family).loss is not Family.loss and not family.name):
        must = "a family with a teacher must leave its loss to the task"
        raise InputError(must, f"{name} has {own} of its own", "leave the teacher out", key=KEY)


def check_teacher(known: BundleDescription, dataset: Dataset) -> None:
    """Refuses a teacher that does not know what the student learns, or knows what it is judged by."""
    state = known.document.get("state")
    if state is None:
        must, do = "a teacher must be a family's model", "make its function a Family class"
        raise InputError(must, "a plain function's", do, key=KEY)
    do = "name a teacher of the same data"
    if state.get("task") != dataset.task:
        raise InputError(f"a teacher here must know {dataset.task}", f"{state.get('task')}", do, key=KEY)
    classes = [str(name) for name in state.get("classes", ())]
    if dataset.task == "classification" and classes != list(dataset.classes):
        other = sorted(set(classes) ^ set(dataset.classes))
        found = f"{len(classes)} instead of {len(dataset.classes)}; only one has {', '.join(other[:5])}"
        raise InputError("a teacher must know the same classes", found, do, key=KEY)
    if missing := [str(name) for name in known.example.columns if name not in dataset.columns]:
        found = f"it reads {', '.join(missing[:5])} too"
        raise InputError("a teacher must read columns that the data has", found, do, key=KEY)
    judged = np.concatenate([dataset.splits["validation"], dataset.splits["test"]])
    seen = int(np.isin(dataset.row_keys(known.train_rows_by)[judged], known.train_rows).sum())
    if seen:
        found = f"it was trained on {seen:,} of {len(judged):,}"
        do = "split the data as the teacher's was (data.split)"
        raise InputError("a teacher must not know rows of validation or test", found, do, key=KEY)


def _ask_once(teacher: Teacher, folder: Path, dataset: Dataset, cache: Path) -> Array:
    """The teacher's answers for the rows of training, of N; from the cache where it was asked before."""
    rows = dataset.splits["train"]
    facts = [
        manifest_hash(folder), dataset.fingerprint, dataset.row_hashes.tobytes().hex(), rows.tobytes().hex(),
    ]  # fmt: skip
    name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]

    def build(aside: Path) -> None:
        predictor = load_bundle(folder, manifest_sha256=teacher.sha256)
        answers = np.zeros((dataset.rows, *_answers_shape(dataset)))
        for start in range(0, len(rows), ROWS_AT_ONCE):
            asked = rows[start : start + ROWS_AT_ONCE]
            answers[asked] = _read_answers(predictor.predict(_raw_rows(dataset, asked)))
        np.save(aside / ANSWERS, answers, allow_pickle=False)

    made: Array = np.load(shared_folder(cache / "teachers" / name, build) / ANSWERS, allow_pickle=False)
    return made


def _answers_shape(dataset: Dataset) -> tuple[int, ...]:
    """Of one row's."""
    return (len(dataset.classes),) if dataset.task == "classification" else ()


def _raw_rows(dataset: Dataset, rows: npt.NDArray[np.int64]) -> pd.DataFrame:
    """Images in one array stay arrays: as nested lists they take a hundred times as long."""
    import pandas as pd

    column: Column | None = dataset.columns.get("image")
    if column is None or not isinstance(column.values, np.ndarray):
        return raw_rows(dataset, rows)
    values = column.values
    return pd.DataFrame({"image": pd.Series([values[int(row)] for row in rows], dtype=object)})


def _read_answers(answers: pd.DataFrame) -> npt.NDArray[np.float64]:
    if "label" not in answers:
        numbers: npt.NDArray[np.float64] = answers["prediction"].to_numpy(np.float64)
        return numbers
    chances: npt.NDArray[np.float64] = answers.drop(columns="label").to_numpy(np.float64)
    return np.asarray(np.log(np.maximum(chances, LEAST_CHANCE)), np.float64)


def _as_targets(found: Array, state: State) -> npt.NDArray[np.float32]:
    if state["task"] == "regression":
        found = (found - state["target_mean"]) / state["target_std"]
    return np.ascontiguousarray(found, dtype=np.float32)
