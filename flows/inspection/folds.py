"""What models that did not see a row say of it: out-of-fold probabilities.

Shape legend: n rows of the training and validation parts, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainers.job import Job
from trainers.types import Goal, Length

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

    from trainers.data.dataset import Dataset, EncodedDataset, Part
    from trainers.family import Family
    from trainers.types import Json, JsonObject

ROWS_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class SilentHooks:
    """The loop's hooks where nobody listens."""

    def report(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        """As `trainers.job.Hooks`."""
        return True

    def alive(self, step: int) -> None:
        """As `trainers.job.Hooks`."""

    def stopping(self) -> bool:
        """As `trainers.job.Hooks`."""
        return False

    def save(self, tensors: Mapping[str, torch.Tensor], document: Mapping[str, Json]) -> None:
        """As `trainers.job.Hooks`."""

    def load(self) -> None:
        """As `trainers.job.Hooks`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldTraining:
    """How each fold's model is trained.

    Attributes:
        params: complete.
        cache: where encoded data is kept.
    """

    family: Family
    params: JsonObject
    seed: int
    length: Length
    device: str
    cache: Path


def fold_of_rows(dataset: Dataset, rows: npt.NDArray[np.int64], folds: int) -> npt.NDArray[np.int64]:
    """Which fold leaves each row out, int64 [n]: the rows of a class are dealt out evenly, by the hash of
    their inputs, and those with the same inputs stay together."""
    _, first, inverse = np.unique(dataset.input_hashes[rows], return_index=True, return_inverse=True)
    labels, dealt = dataset.labels()[rows][first], np.zeros(len(first), np.int64)
    for label in np.unique(labels):
        (places,) = np.nonzero(labels == label)
        dealt[places] = (np.arange(len(places)) + label) % folds
    found: npt.NDArray[np.int64] = dealt[inverse]
    return found


def out_of_fold(
    how: FoldTraining,
    dataset: Dataset,
    rows: npt.NDArray[np.int64],
    folds: int,
    told: Callable[[int, float], None],
) -> npt.NDArray[np.float64]:
    """The probabilities that the model of the fold without a row gives it, float64 [n, C].

    All that is fitted (scales, vocabularies) is fitted without the row too.

    Args:
        told: after each fold its number and its model's accuracy.
    """
    chances = np.zeros((len(rows), len(dataset.classes)))
    labels, fold_of = dataset.labels()[rows], fold_of_rows(dataset, rows, folds)
    for fold in range(folds):
        (out,) = np.nonzero(fold_of == fold)
        splits: dict[Part, npt.NDArray[np.int64]] = {
            "train": rows[fold_of != fold],
            "validation": rows[out],
            "test": rows[:0],
        }
        chances[out] = _train_fold(how, replace(dataset, splits=splits))
        told(fold, float((chances[out].argmax(-1) == labels[out]).mean()))
    return chances


def _train_fold(how: FoldTraining, dataset: Dataset) -> npt.NDArray[np.float64]:
    from trainers.bundle.teaching import encode_for_training
    from trainers.loop.training import train

    arrays = encode_for_training(how.family, dataset, how.params, how.cache)
    job = Job(
        family=how.family, params=how.params, seed=how.seed, length=how.length, at="last", device=how.device,
        threads=1, goals=(Goal(metric="val/accuracy", maximize=True),),
    )  # fmt: skip
    ended = train(job, arrays, SilentHooks())
    module = how.family.build(arrays.state, how.params)
    module.load_state_dict(dict(ended.weights))
    module.to(how.device).eval()
    return np.concatenate(list(_predict_held_out(how, module, arrays)))


def _predict_held_out(
    how: FoldTraining, module: torch.nn.Module, arrays: EncodedDataset
) -> Iterator[npt.NDArray[np.float64]]:
    import torch

    from trainers.data.batches import Batches

    source = Batches(arrays, "validation", how.device)
    with torch.inference_mode():
        for start in range(0, len(source), ROWS_AT_ONCE):
            batch = source.gather(torch.arange(start, min(start + ROWS_AT_ONCE, len(source))))
            answers = how.family.answers(module, batch, arrays.state)
            yield how.family.to_user(answers, arrays.state).drop(columns="label").to_numpy(np.float64)
