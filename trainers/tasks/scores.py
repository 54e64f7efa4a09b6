"""Classification metrics from counts, in NumPy: the same numbers as scikit-learn and torchmetrics give.

torchmetrics itself is left to the text metrics and to the tests: importing it costs 1.2 to 2 s of CPU (it
takes matplotlib and scipy.signal along), and these metrics of 180 examples take it 2.4 to 4 ms, here 0.4.

Shape legend: C classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from trainers.types import Array

Counts = npt.NDArray[np.int64]


def metrics_from_counts(hits: Counts, actual: Counts, predicted: Counts) -> dict[str, float]:
    """Accuracy and the macro averages.

    `precision`, `recall` and `f1` average over the classes that occur among the targets or the predictions,
    a division by zero counting as 0; `balanced_accuracy` averages recall over the classes that occur among
    the targets (scikit-learn's definitions of all five).

    Args:
        hits: [C] examples of each class that were predicted so.
        actual: [C] examples of each class.
        predicted: [C] predictions of each class.

    Returns:
        By name; empty if there were no examples.
    """
    total = int(actual.sum())
    if total == 0:
        return {}
    seen = (actual + predicted) > 0
    recall = _ratio(hits, actual)
    return {
        "accuracy": float(hits.sum() / total),
        "balanced_accuracy": float(recall[actual > 0].mean()),
        "precision": float(_ratio(hits, predicted)[seen].mean()),
        "recall": float(recall[seen].mean()),
        "f1": float(_ratio(2 * hits, actual + predicted)[seen].mean()),
    }


def count_metrics_of_members(
    classes: Sequence[str], hits: Counts, actual: Counts, predicted: Counts
) -> list[dict[str, float]]:
    """`metrics_from_counts`, and `metrics_by_class`, of several models on the same examples, at once.

    Args:
        classes: their names; none where nothing is wanted by class.
        hits, predicted: [F, C], of each model; `actual` [C] is the examples'.
    """
    occurs, total = actual > 0, int(actual.sum())
    if total == 0 or (predicted[:, ~occurs] > 0).any():  # each averages over classes of its own
        return [
            metrics_from_counts(own, actual, given)
            | (metrics_by_class(classes, own, actual, given) if total and classes else {})
            for own, given in zip(hits, predicted, strict=True)
        ]
    hits, predicted = hits.compress(occurs, axis=1), predicted.compress(occurs, axis=1)
    actual = actual[occurs]
    precision, recall = _ratio(hits, predicted), hits / actual
    f1 = 2 * hits / (actual + predicted)
    means = [(hits.sum(axis=1) / total), *(each.mean(axis=1) for each in (recall, precision, recall, f1))]
    names = ["accuracy", "balanced_accuracy", "precision", "recall", "f1"]
    values = np.stack(means, axis=1)
    if classes:
        seen = [classes[i] for i in np.flatnonzero(occurs).tolist()]
        names += [f"{name}_{one}" for one in seen for name in ("precision", "recall", "f1")]
        by_class = np.stack([precision, recall, f1], axis=2).reshape(len(hits), -1)
        values = np.concatenate([values, by_class], axis=1)
    return [dict(zip(names, row, strict=True)) for row in values.tolist()]


def metrics_by_class(
    classes: Sequence[str], hits: Counts, actual: Counts, predicted: Counts
) -> dict[str, float]:
    """`precision_<class>`, `recall_<class>` and `f1_<class>` of each class that occurs, 0 where undefined.

    Args:
        classes: their names; `hits`, `actual`, `predicted` as in `metrics_from_counts`.
    """
    values = {
        "precision": _ratio(hits, predicted),
        "recall": _ratio(hits, actual),
        "f1": _ratio(2 * hits, actual + predicted),
    }
    seen = np.flatnonzero((actual + predicted) > 0).tolist()
    return {f"{name}_{classes[i]}": float(value[i]) for i in seen for name, value in values.items()}


def _ratio(above: Array, below: Array) -> npt.NDArray[np.float64]:
    ratio: npt.NDArray[np.float64] = np.divide(above, below, out=np.zeros(below.shape), where=below > 0)
    return ratio


def log_likelihoods(chances: npt.NDArray[np.float64], labels: Counts) -> npt.NDArray[np.float64]:
    """Logarithm of the probability that each example's own class was given; minus their mean is `loss`.

    Args:
        chances: [N, C] probabilities, 1e-15 where they are smaller.
        labels: [N] class indices.
    """
    own = chances[np.arange(len(labels)), labels]
    return np.asarray(np.log(np.clip(own, 1e-15, 1.0)), dtype=np.float64)
