"""Keeping an attempt's model: its bundle in the trial's folder, and what can be measured on it there."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

import numpy as np

from infra.spec import FamilySpec
from infra.storage.paths import FILES
from trainers.job import Outcome
from trainers.kept.hugging_face import COLUMN
from trainers.metric_names import SPENT

if TYPE_CHECKING:
    import pandas as pd

    from trainers.bundle.contents import RowHashes, SeenRows
    from trainers.data.dataset import Dataset
    from trainers.family import Family
    from trainers.types import Json, Params


class _Said(TypedDict):
    """What is said in a bundle of every kind."""

    params: Params
    facts: Mapping[str, Json]
    row_hashes_of_train: RowHashes
    seen: SeenRows | None


def save_bundle(
    folder: Path,
    spec: FamilySpec,
    family: Family | None,
    dataset: Dataset | None,
    params: Params,
    outcome: Outcome,
    about: Mapping[str, Json],
    cache: Path,
) -> dict[str, float]:
    """Writes the bundle of a finished attempt and measures it.

    Args:
        family: None for a plain function, whose outcome then names `build`, or its model's files.
        about: sweep, trial, metrics of the kept epoch, for the bundle's document.

    Returns:
        `latency_ms`, `latency_p99_ms`, `parameters`, `size_bytes` and, where countable, `flops` of the
        model as it will be served.
    """
    from trainers.bundle.bundle import save_bundle
    from trainers.bundle.own_models import save_functions, save_kept
    from trainers.bundle.seen_rows import seen_rows

    shutil.rmtree(folder, ignore_errors=True)  # what an attempt that died while writing left behind
    folder.parent.mkdir(parents=True, exist_ok=True)
    said: _Said = {
        "params": params, "facts": _compose_facts(about, dataset, outcome),
        "row_hashes_of_train": _train_rows(dataset), "seen": None if dataset is None else seen_rows(dataset),
    }  # fmt: skip
    if outcome.kept_model is not None:
        save_kept(
            folder, kept=outcome.kept_model, directory=folder.parent / FILES,
            example_rows=_own_example(outcome, dataset), **said,
        )  # fmt: skip
        return _measure_bundle(folder)
    if family is None:
        save_functions(
            folder, build=outcome.code["build"], predict=outcome.code.get("predict"),
            weights=outcome.weights, example_rows=_own_example(outcome, dataset),
            signed=bool(outcome.example), **said,
        )  # fmt: skip
        return _measure_bundle(folder) if outcome.example else {}
    from trainers.inputs.encoded_arrays import encode_dataset

    assert dataset is not None
    save_bundle(
        folder, family_reference=spec.reference, options=spec.options, weights=outcome.weights,
        state=encode_dataset(family, dataset, family.complete(params), cache).state,
        example_rows=_input_example(family, dataset), **said,
    )  # fmt: skip
    return _measure_bundle(folder)


def _compose_facts(about: Mapping[str, Json], dataset: Dataset | None, outcome: Outcome) -> dict[str, Json]:
    fingerprint, keyed_by = (dataset.fingerprint, dataset.keyed_by) if dataset is not None else (None, None)
    return {
        **about, "fingerprint": fingerprint, "train_rows_by": keyed_by, **_describe_training(dataset),
        **{name: outcome.facts[name] for name in SPENT if name in outcome.facts},
    }  # fmt: skip


def save_samples(
    folder: Path, family: Family, dataset: Dataset, params: Params, outcome: Outcome, cache: Path, device: str
) -> None:
    """Writes what a family shows of an attempt's kept weights."""
    from trainers.inputs.encoded_arrays import encode_dataset
    from trainers.samples.writing import samples_of_weights, write_samples

    complete = family.complete(params)
    arrays = encode_dataset(family, dataset, complete, cache)
    write_samples(folder, samples_of_weights(family, arrays, complete, outcome.weights, device))


def _measure_bundle(folder: Path) -> dict[str, float]:
    from trainers.bundle.bundle import load_bundle
    from trainers.bundle.latency import measure_latency, model_figures

    predictor = load_bundle(folder)
    if predictor.example.empty:
        return model_figures(predictor)
    return dict(measure_latency(predictor, predictor.example))


def _own_example(outcome: Outcome, dataset: Dataset | None) -> pd.DataFrame:
    """Rows for a model of people's own: theirs, those of a Hugging Face model, or the data's."""
    import pandas as pd

    from trainers.bundle.frames import frame_from_json

    if outcome.example:
        return frame_from_json(dict(outcome.example))
    if outcome.kept_model is not None and outcome.kept_model.kind == "transformers":
        return pd.DataFrame({COLUMN: ["An example of a text."]})
    return _input_example(None, dataset)


def _describe_training(dataset: Dataset | None) -> Mapping[str, Json]:
    """How training's values are distributed, for whoever watches what the model is asked later."""
    if dataset is None:
        return {}
    from trainers.data.distribution import training_distributions

    return {"distribution": cast("Json", training_distributions(dataset))}


def _train_rows(dataset: Dataset | None) -> RowHashes:
    if dataset is None:
        return np.zeros(0, np.uint64)
    return dataset.row_keys()[dataset.splits["train"]]


def _input_example(family: Family | None, dataset: Dataset | None) -> pd.DataFrame:
    import pandas as pd

    if dataset is None:
        return pd.DataFrame()
    if family is not None:
        return family.example(dataset)
    from trainers.data.examples import example_rows

    return example_rows(dataset, 2)
