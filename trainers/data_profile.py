"""What a person should know of a data set before anything is trained on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import numpy as np
import numpy.typing as npt

from trainers.column_profiles import ColumnProfile, profile_columns
from trainers.data.dataset import Column, Dataset, Part
from trainers.target_leaks import TargetLeak, find_leaks
from trainers.tasks import rules_for
from trainers.types import Array, JsonObject

LABEL_KINDS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class TrivialBaseline:
    """What always answering the same scores on the validation part: the bar for every model."""

    metric: str  # accuracy, mse or exact_match
    value: float
    answer: str | float  # the majority class, the mean or the commonest answer, of the training part
    scores: Mapping[str, float]  # every metric of the task but its loss, whose unit is a family's own


@dataclass(frozen=True, slots=True, kw_only=True)
class DataProfile:
    """A data set at a glance.

    Attributes:
        described: what each column holds, and what may be wrong with it.
        parts: rows of each part.
        classes: label → rows, over all parts.
        missing: column → rows without a value, where there are any.
        duplicates: rows whose content an earlier row has.
        conflicts: rows whose features another row has with another target.
        giveaways: columns that predict the target alone.
        guess: the trivial guess, where the task has one.
    """

    rows: int
    kind: str
    task: str | None
    source: str
    fingerprint: str
    columns: Mapping[str, str]
    parts: Mapping[Part, int]
    classes: Mapping[str, int] = field(default_factory=dict)
    missing: Mapping[str, int] = field(default_factory=dict)
    duplicates: int = 0
    conflicts: int = 0
    described: tuple[ColumnProfile, ...] = ()
    giveaways: tuple[TargetLeak, ...] = ()
    guess: TrivialBaseline | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> JsonObject:
        """Plain JSON types only."""
        return asdict(self)


def profile_dataset(dataset: Dataset) -> DataProfile:
    """Counts, faults and the trivial guess of a data set."""
    return DataProfile(
        rows=dataset.rows,
        kind=dataset.kind,
        task=dataset.task,
        source=dataset.source,
        fingerprint=dataset.fingerprint,
        columns={name: column.kind for name, column in dataset.columns.items()},
        parts={part: len(rows) for part, rows in dataset.splits.items()},
        classes=_class_counts(dataset),
        missing=_count_missing(dataset),
        duplicates=dataset.rows - len(np.unique(dataset.row_hashes)),
        conflicts=_count_conflicts(dataset),
        described=profile_columns(dataset),
        giveaways=find_leaks(dataset),
        guess=trivial_baseline(dataset),
        notes=dataset.notes,
    )


def trivial_baseline(dataset: Dataset, part: Part = "validation") -> TrivialBaseline | None:
    """The score of the training part's majority class (accuracy), mean (mse, in the target's own unit) or
    commonest answer (exact_match) on a part, or of what most users liked (ndcg_10); None where the task has
    no such guess."""
    rows, train = dataset.splits.get(part), dataset.splits.get("train")
    if dataset.task == "recommendation" and rows is not None and train is not None:
        return _popularity(dataset, rows, train)
    if dataset.target is None or rows is None or train is None or not len(rows) or not len(train):
        return None
    if dataset.task == "classification":
        labels = dataset.labels()
        majority = int(np.bincount(labels[train], minlength=len(dataset.classes)).argmax())
        return _score_baseline(dataset, "accuracy", dataset.classes[majority], labels[train], labels[rows])
    if dataset.task == "regression":
        values = np.asarray(dataset.target.values, np.float64)
        return _score_baseline(dataset, "mse", float(values[train].mean()), values[train], values[rows])
    if dataset.task == "question-answering":
        texts = np.array([str(value) for value in dataset.target.values], object)
        commonest = Counter(texts[train].tolist()).most_common(1)[0][0]
        return _score_baseline(dataset, "exact_match", commonest, texts[train], texts[rows])
    return None


def _popularity(
    dataset: Dataset, rows: npt.NDArray[np.int64], train: npt.NDArray[np.int64]
) -> TrivialBaseline | None:
    from trainers.inputs.interactions import index_interactions

    found = index_interactions(dataset)
    table = np.stack([found.user, found.item, found.wanted], axis=1)
    answer = "what most users liked"
    return _score_baseline(dataset, "ndcg_10", answer, table[train, :2], table[rows])


def _score_baseline(
    dataset: Dataset, metric: str, answer: str | float, train: Array, validation: Array
) -> TrivialBaseline | None:
    rules = rules_for({"task": dataset.task, "classes": list(dataset.classes)})
    scores = {name: value for name, value in rules.trivial(train, validation).items() if name != "loss"}
    return (
        TrivialBaseline(metric=metric, value=scores[metric], answer=answer, scores=scores) if scores else None
    )


def _class_counts(dataset: Dataset) -> dict[str, int]:
    if not dataset.classes or len(dataset.classes) > LABEL_KINDS or dataset.target is None:
        return {}
    counts = Counter(dataset.target.values)
    return {label: counts[label] for label in dataset.classes}


def _count_missing(dataset: Dataset) -> dict[str, int]:
    counts = {name: _count_missing_in(column) for name, column in dataset.columns.items()}
    return {name: count for name, count in counts.items() if count}


def _count_missing_in(column: Column) -> int:
    if column.kind in ("number", "time"):
        return int(np.isnan(np.asarray(column.values)).sum())
    if column.kind in ("image", "audio"):
        return 0
    return sum(value is None for value in column.values)


def _count_conflicts(dataset: Dataset) -> int:
    """Rows that share their features, but not their target, with another row."""
    if dataset.target is None or not dataset.columns or dataset.kind == "pairs":
        return 0
    _, group = np.unique(dataset.input_hashes, return_inverse=True)
    _, pair_rows = np.unique(
        np.stack([group, _value_codes(dataset.target)], axis=1), axis=0, return_index=True
    )
    targets = np.bincount(group[pair_rows], minlength=int(group.max()) + 1)
    return int((targets[group] > 1).sum())


def _value_codes(column: Column) -> npt.NDArray[np.int64]:
    """A whole number for each different value."""
    values = (
        np.asarray(column.values) if column.kind == "number" else np.array([str(v) for v in column.values])
    )
    codes: npt.NDArray[np.int64] = np.unique(values, return_inverse=True)[1].astype(np.int64)
    return codes
