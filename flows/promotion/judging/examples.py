"""What challenger and champion are judged on: rows that neither of them was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from flows.config.policy import Policy
from flows.promotion.gates.predictions import Rows, Truth
from flows.promotion.gates.scoring import known_metrics
from infra.errors import WrongInput

if TYPE_CHECKING:
    import pandas as pd

    from trainers.data.dataset import Dataset, KeyedBy
    from trainers.types import Json

MOST_VALUES = 50  # of a column that makes slices


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRows:
    """What a model was trained on.

    Attributes:
        whose: `challenger` or `champion`.
        rows: hashes, ascending; None where nobody knows.
        by: what those hashes are of: the inputs, or, in bundles of before, inputs and target.
        columns: what those hashes are over; None where nobody knows.
    """

    whose: str
    rows: npt.NDArray[np.uint64] | None = None
    by: KeyedBy = "content"
    columns: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Rows to judge on.

    Attributes:
        frame: as models take them, N rows.
        hashes: uint64 [N], of their content.
        left_out: rows that one of the models was trained on.
        problems: why it is not known for a model which rows those are.
        slices: the examples of each slice.
    """

    frame: pd.DataFrame
    truth: Truth
    hashes: npt.NDArray[np.uint64]
    left_out: int
    fingerprint: str
    source: str
    part: str
    problems: tuple[str, ...] = ()
    slices: Mapping[str, Rows] = field(default_factory=dict)


def open_evaluation_data(
    spec: Mapping[str, Json], base: Path, cache: Path, recorded: str | None = None
) -> Dataset:
    """The evaluation data; `recorded` is the fingerprint that it had before, where that is known.

    Raises:
        WrongInput: own code reads it, or its task is none that predictions can be judged in.
    """
    from trainers.data.sources.opening import open_dataset

    if spec.get("source", "none") == "none":
        raise WrongInput(
            "a promotion needs data to judge on",
            "own code reads its own",
            "name it in the policy: evaluation: {data: {source: csv:…}}",
        )
    dataset = open_dataset(spec, base=base, cache=cache, recorded=recorded)
    if not known_metrics(str(dataset.task)):
        raise WrongInput(
            "a promotion judges classification, regression, seq2seq and question answering by predictions",
            f"task {dataset.task}",
            "promote judges no other task yet",
        )
    return dataset


def gather_examples(dataset: Dataset, part: str, trained: Sequence[TrainingRows], policy: Policy) -> Examples:
    """The rows of a part that no model was trained on.

    Args:
        part: `test`, or `all` for every row of the data.
        trained: what is known of each model.
    """
    rows = dataset.splits["test"] if part == "test" else np.arange(dataset.rows)
    rows = rows[_target_mask(dataset)[rows]]
    seen = np.zeros(len(rows), np.bool_)
    problems: list[str] = []
    for model in trained:
        if (problem := _unknown_rows_reason(model, dataset)) is not None:
            problems.append(problem)
        else:
            assert model.rows is not None
            seen |= np.isin(dataset.row_keys(model.by)[rows], model.rows)
    kept = rows[~seen]
    from trainers.data.examples import raw_rows

    frame = raw_rows(dataset, kept)
    return Examples(
        frame=frame,
        truth=_read_truth(dataset, kept),
        hashes=dataset.row_hashes[kept],
        left_out=int(seen.sum()),
        fingerprint=dataset.fingerprint,
        source=dataset.source,
        part=part,
        problems=tuple(problems),
        slices=_slice_rows(frame, policy),
    )


def _target_mask(dataset: Dataset) -> npt.NDArray[np.bool_]:
    """Rows whose target is known."""
    if dataset.task == "classification":
        return np.asarray(dataset.labels() >= 0)
    assert dataset.target is not None
    if dataset.task == "regression":
        return np.isfinite(np.asarray(dataset.target.values, dtype=np.float64))
    return np.array([value is not None for value in dataset.target.values], np.bool_)


def _unknown_rows_reason(model: TrainingRows, dataset: Dataset) -> str | None:
    if model.rows is None or model.columns is None:
        return f"not those of the {model.whose}"
    here = frozenset(dataset.columns)
    if model.columns != here:
        differing = sorted(model.columns ^ here)
        listed = ", ".join(differing[:3]) + (", …" if len(differing) > 3 else "")
        return f"those of the {model.whose} are known by other columns ({listed})"
    return None


def _read_truth(dataset: Dataset, rows: npt.NDArray[np.int64]) -> Truth:
    assert dataset.target is not None
    if dataset.task == "classification":
        return Truth(task="classification", values=dataset.labels()[rows], classes=dataset.classes)
    if dataset.task == "regression":
        return Truth(task="regression", values=np.asarray(dataset.target.values, np.float64)[rows])
    return Truth(task=str(dataset.task), values=[str(dataset.target.values[int(row)]) for row in rows])


def _slice_rows(frame: pd.DataFrame, policy: Policy) -> dict[str, Rows]:
    if policy.slices is None:
        return {}
    found: dict[str, Rows] = {}
    for column in policy.slices.columns:
        if column not in frame.columns:
            known = ", ".join(map(str, frame.columns[:8]))
            raise WrongInput("a slice's column must be one that models read", column, f"known are {known}")
        values = frame[column].map(str).to_numpy()
        distinct = sorted(set(values))
        if len(distinct) > MOST_VALUES:
            do = "name a column of categories"
            raise WrongInput(
                f"a slice's column must have at most {MOST_VALUES} values", f"{len(distinct)} in {column}", do
            )
        found |= {f"{column}={value}": values == value for value in distinct}
    return found
