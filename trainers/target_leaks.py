"""Columns that alone give a table's target away."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainers.data.dataset import Column, Dataset
from trainers.data.prepare import FLOAT32_MAX
from trainers.types import Array

SAMPLE_ROWS = 20_000
GIVEN_AWAY = 0.99  # a lone column that does as well as this gives the target away
WORTH_A_TREE = 0.9  # by bins, which lose what lies within one
ROWS_A_BIN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetLeak:
    """A column that alone predicts the target nearly perfectly on validation rows."""

    column: str
    metric: str  # balanced_accuracy or r2
    value: float


def find_leaks(dataset: Dataset) -> tuple[TargetLeak, ...]:
    """Columns that alone, by a small tree fitted on training rows, predict the target of validation rows."""
    if dataset.kind != "table" or dataset.target is None or len(dataset.columns) < 2:
        return ()
    if dataset.task not in ("classification", "regression"):
        return ()
    train = _sample_rows(dataset.splits["train"])
    validation = _sample_rows(dataset.splits["validation"])
    classify = dataset.task == "classification"
    target = dataset.labels() if classify else np.asarray(dataset.target.values)
    found = []
    for name, column in dataset.columns.items():
        if column.kind in ("text", "image", "audio") or len(validation) < 2:
            continue
        values = _encode_column(column, target, train)
        if _score_bins(values[train], target[train], classify) < WORTH_A_TREE:
            continue
        score = _score_tree(values, target, train, validation, classify)
        if score >= GIVEN_AWAY:
            metric = "balanced_accuracy" if classify else "r2"
            found.append(TargetLeak(column=name, metric=metric, value=score))
    return tuple(found)


def _sample_rows(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return rows[:: max(1, len(rows) // SAMPLE_ROWS)]


def _score_bins(values: npt.NDArray[np.float64], target: Array, classify: bool) -> float:
    """About what a tree would reach on the rows that it is fitted on, a hundred times as fast: balanced
    accuracy or r2 of answering by the bin of the value."""
    different, bins = np.unique(values, return_inverse=True)
    most = max(len(values) // ROWS_A_BIN, 8 * (int(target.max()) + 1) if classify else 32)
    if len(different) > most:
        bins = bins * most // len(different)
    if not classify:
        sums, counts = np.bincount(bins, target), np.bincount(bins)
        spread = float(((target - target.mean()) ** 2).sum())
        means = sums / np.maximum(counts, 1)
        return 1.0 - float(((target - means[bins]) ** 2).sum()) / spread if spread else 0.0
    sizes = np.bincount(target)
    present = np.flatnonzero(sizes)
    width = int(bins.max()) + 1
    counts = np.stack([np.bincount(bins[target == label], minlength=width) for label in present])
    return float((counts / sizes[present, None]).max(axis=0).sum() / len(present))


def _score_tree(
    values: npt.NDArray[np.float64],
    target: Array,
    train: npt.NDArray[np.int64],
    validation: npt.NDArray[np.int64],
    classify: bool,
) -> float:
    """Balanced accuracy, which sees rare classes too, or r2 of a tree that sees this column alone: the worse
    of training and validation rows, for of a rare class validation may have one row."""
    from sklearn.metrics import balanced_accuracy_score, r2_score
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    inputs = values[:, None]
    if classify:
        leaves = max(8, 2 * int(target.max() + 1))
        tree = DecisionTreeClassifier(max_leaf_nodes=leaves, class_weight="balanced", random_state=0)
    else:
        tree = DecisionTreeRegressor(max_leaf_nodes=256, random_state=0)
    rate = balanced_accuracy_score if classify else r2_score
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes that validation lacks, or that are many
        tree.fit(inputs[train], target[train])
        return min(float(rate(target[rows], tree.predict(inputs[rows]))) for rows in (train, validation))


def _encode_column(column: Column, target: Array, train: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """The column as numbers: a category becomes the target that it has most often (or on average) in
    training; what training never saw is -1."""
    if column.kind in ("number", "time"):
        values = np.nan_to_num(np.asarray(column.values, np.float64), nan=-1.0)
        if np.abs(values).max(initial=0.0) <= FLOAT32_MAX:
            return values
        return np.unique(values, return_inverse=True)[1].astype(np.float64)  # trees see their order alone
    _, codes = np.unique(np.array([str(value) for value in column.values]), return_inverse=True)
    answers = np.full(int(codes.max()) + 1, -1.0)
    whole = np.issubdtype(target.dtype, np.integer)
    order = train[np.argsort(codes[train], kind="stable")]
    seen, starts = np.unique(codes[order], return_index=True)
    for code, rows in zip(seen, np.split(order, starts[1:]), strict=True):
        answers[code] = np.bincount(target[rows]).argmax() if whole else target[rows].mean()
    numbers: npt.NDArray[np.float64] = answers[codes]
    return numbers
