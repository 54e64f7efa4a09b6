"""What models that did not see a row say of it: out-of-fold probabilities.

Shape legend: n rows of the training and validation parts, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from infra.errors import WrongInput
from infra.storage.checkpoints import CheckpointStore
from trainers.job import Job, SilentHooks
from trainers.types import Goal, Length

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

    from flows.inspection.kept_folds import FoldStore
    from trainers.data.dataset import Dataset, EncodedDataset, Part
    from trainers.family import Family
    from trainers.types import Document, Json, JsonObject

ROWS_AT_ONCE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldTraining:
    """How each fold's model is trained.

    Attributes:
        params: complete.
        cache: where encoded data is kept.
        checkpoint_seconds, checkpoint_epochs: between checkpoints, as the sweep has them.
        about: sweep, family and trial, for what is kept of each fold.
    """

    family: Family
    params: JsonObject
    seed: int
    length: Length
    device: str
    cache: Path
    checkpoint_seconds: float | None = None
    checkpoint_epochs: int | None = None
    about: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldOutcome:
    """How one fold ended.

    Attributes:
        fold: from 0.
        accuracy: of its model on the rows that it did not see, by their labels as they are.
        kept: whether it was there from before.
    """

    fold: int
    accuracy: float
    kept: bool


@dataclass(frozen=True, slots=True)
class FoldHooks(SilentHooks):
    """The loop's hooks: nobody hears of the reports, and checkpoints are kept."""

    checkpoints: CheckpointStore

    def save(self, tensors: Mapping[str, torch.Tensor], document: Mapping[str, Json]) -> None:
        """As `trainers.job.Hooks`."""
        self.checkpoints.save(tensors, document)

    def load(self) -> tuple[dict[str, torch.Tensor], Document] | None:
        """As `trainers.job.Hooks`."""
        loaded = self.checkpoints.load()
        return None if loaded is None else (loaded.tensors, loaded.document)


def fold_of_rows(dataset: Dataset, rows: npt.NDArray[np.int64], folds: int) -> npt.NDArray[np.int64]:
    """Which fold leaves each row out, int64 [n]: the rows of a class are dealt out evenly, by the hash of
    their inputs, and those with the same inputs stay together; so do groups where the sides are theirs."""
    keys = dataset.input_hashes if dataset.together is None else dataset.together
    _, first, inverse = np.unique(keys[rows], return_index=True, return_inverse=True)
    labels, dealt = dataset.labels()[rows][first], np.zeros(len(first), np.int64)
    for label in np.unique(labels):
        (places,) = np.nonzero(labels == label)
        dealt[places] = (np.arange(len(places)) + label) % folds
    found: npt.NDArray[np.int64] = dealt[inverse]
    return found


def find_unjudged(dataset: Dataset, rows: npt.NDArray[np.int64], folds: int) -> npt.NDArray[np.bool_]:
    """Whose label stands in one fold alone, bool [n]: the model that judges such a row never saw it."""
    labels, fold_of = dataset.labels()[rows], fold_of_rows(dataset, rows, folds)
    pairs = np.unique(np.stack([labels, fold_of]), axis=1)
    known, counts = np.unique(pairs[0], return_counts=True)
    return np.isin(labels, known[counts == 1])


def check_folds(dataset: Dataset, rows: npt.NDArray[np.int64], folds: int) -> None:
    """Refuses more folds than the rows fill."""
    filled = len(np.unique(fold_of_rows(dataset, rows, folds)))
    if filled < folds:
        what = "different rows" if dataset.together is None else "groups"
        keys = dataset.input_hashes if dataset.together is None else dataset.together
        raise WrongInput(
            "each of --folds must leave rows out",
            f"{folds} folds of {len(np.unique(keys[rows])):,} {what}: {folds - filled} would leave out none",
            f"--folds {filled}, or fewer",
        )


def out_of_fold(
    how: FoldTraining,
    dataset: Dataset,
    rows: npt.NDArray[np.int64],
    folds: int,
    store: FoldStore,
    told: Callable[[FoldOutcome], None],
) -> npt.NDArray[np.float64]:
    """The probabilities that the model of the fold without a row gives it, float64 [n, C].

    All that is fitted (scales, vocabularies) is fitted without the row too. A fold that `store` has is read,
    one that was begun goes on from its checkpoint, and each is kept as it ends.

    Args:
        told: of each fold.
    """
    chances = np.zeros((len(rows), len(dataset.classes)))
    labels, fold_of = dataset.labels()[rows], fold_of_rows(dataset, rows, folds)
    for fold in range(folds):
        (out,) = np.nonzero(fold_of == fold)
        hashes = dataset.row_hashes[rows[out]]
        kept = store.read(folds, fold, hashes)
        if kept is None:
            hooks = FoldHooks(store.checkpoints(folds, fold))
            found = _train_fold(how, _split_at(dataset, rows, fold_of, fold), hooks)
        else:
            found = kept
        chances[out] = found
        accuracy = float((found.argmax(-1) == labels[out]).mean())
        if kept is None:
            about = {**how.about, "fold": fold, "folds": folds, "accuracy": accuracy}
            store.write(folds, fold, hashes, found, {**about, "classes": list(dataset.classes)})
        told(FoldOutcome(fold=fold, accuracy=accuracy, kept=kept is not None))
    return chances


def _split_at(
    dataset: Dataset, rows: npt.NDArray[np.int64], fold_of: npt.NDArray[np.int64], fold: int
) -> Dataset:
    """The data set with a fold as its validation part, and the others to train on."""
    splits: dict[Part, npt.NDArray[np.int64]] = {
        "train": rows[fold_of != fold],
        "validation": rows[fold_of == fold],
        "test": rows[:0],
    }
    return replace(dataset, splits=splits)


def _train_fold(how: FoldTraining, dataset: Dataset, hooks: FoldHooks) -> npt.NDArray[np.float64]:
    from trainers.bundle.teaching import encode_for_training
    from trainers.loop.training import train

    arrays = encode_for_training(how.family, dataset, how.params, how.cache)
    job = Job(
        family=how.family, params=how.params, seed=how.seed, length=how.length, at="last", device=how.device,
        threads=1, goals=(Goal(metric="val/accuracy", maximize=True),),
        checkpoint_seconds=how.checkpoint_seconds, checkpoint_epochs=how.checkpoint_epochs,
    )  # fmt: skip
    ended = train(job, arrays, hooks)
    module = how.family.build(arrays.state, how.params)
    module.load_state_dict(dict(ended.weights))
    module.to(how.device).eval()
    return np.concatenate(list(_predict_held_out(how, module, arrays)))


def check_answers(how: FoldTraining, dataset: Dataset) -> None:
    """Refuses what folds cannot be made of, where the family has its own words for answers or rows."""
    from trainers.bundle.teaching import encode_for_training
    from trainers.family import Family

    kind = type(how.family)
    if all(getattr(kind, name) is getattr(Family, name) for name in ("to_user", "rules", "needs_neighbours")):
        return
    arrays = encode_for_training(how.family, dataset, how.params, how.cache)
    if how.family.needs_neighbours(arrays.state):
        raise WrongInput(
            "folds must leave out rows that stand alone",
            f"{how.family.name or kind.__name__} reads the rows before each",
            "name a family with --family that reads each row by itself",
        )
    module = how.family.build(arrays.state, how.params).eval()
    _answer_chances(how, module, arrays, slice(0, 1), "cpu")


def _predict_held_out(
    how: FoldTraining, module: torch.nn.Module, arrays: EncodedDataset
) -> Iterator[npt.NDArray[np.float64]]:
    for start in range(0, len(arrays.splits["validation"]), ROWS_AT_ONCE):
        yield _answer_chances(how, module, arrays, slice(start, start + ROWS_AT_ONCE), how.device)


def _answer_chances(
    how: FoldTraining, module: torch.nn.Module, arrays: EncodedDataset, part: slice, device: str
) -> npt.NDArray[np.float64]:
    """Of these rows of validation."""
    import torch

    from trainers.data.batches import Batches

    source = Batches(arrays, "validation", device)
    with torch.inference_mode():
        batch = source.gather(torch.arange(part.start, min(part.stop, len(source))))
        answers = how.family.to_user(how.family.answers(module, batch, arrays.state), arrays.state)
    wanted = [f"p_{name}" for name in arrays.state["classes"]]
    if missing := [name for name in wanted if name not in answers.columns]:
        name = how.family.name or type(how.family).__name__
        raise WrongInput(
            "a family's answers must hold the probability of each class",
            f"{name} answers {', '.join(map(str, answers.columns))}, without {', '.join(missing[:5])}",
            "name another with --family, or let to_user give the columns p_CLASS too",
        )
    found: npt.NDArray[np.float64] = answers[wanted].to_numpy(np.float64)
    return found
