"""Predictions against targets: metrics by name, and each example's share in them.

Shape legend: N examples, C classes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from trainers.metric_names import direction_of
from trainers.tasks import squad
from trainers.tasks.scores import metrics_from_counts

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
_TINY = 1e-15
_COUNTED = ("accuracy", "balanced_accuracy", "precision", "recall", "f1")


class UnreadablePredictions(ValueError):
    """Predictions that are none of the task's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What the evaluation data says of N examples.

    Attributes:
        task: classification, regression, seq2seq or question-answering.
        values: class indices, int64 [N]; numbers, float64 [N]; or texts, N of them.
        classes: the names of the class indices; empty for other tasks.
    """

    task: str
    values: Any
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPredictions:
    """What a model says of the same examples.

    Attributes:
        values: as `Truth.values`; a label that is no class of the data is -1.
        chances: float64 [N, C] in the order of the data's classes; None where the model gives none.
    """

    values: Any
    chances: Floats | None = None


def parse_predictions(predictions: pd.DataFrame, truth: Truth) -> TaskPredictions:
    """A model's predictions as answers to the task.

    Args:
        predictions: N rows with `label` and `p_<class>`, `prediction`, `output` or `answer`, as models give
            them.

    Raises:
        Unreadable: there is no such column, another number of rows, or numbers that are not finite.
    """
    if len(predictions) != len(truth):
        raise UnreadablePredictions(f"{len(predictions)} predictions for {len(truth)} examples")
    if truth.task == "classification":
        return _parse_classes(predictions, truth)
    column = _find_column(predictions, ("prediction", "text", "output", "answer"))
    if truth.task == "regression":
        try:
            numbers = np.asarray(column, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise UnreadablePredictions("predictions that are no numbers") from error
        if not np.isfinite(numbers).all():
            raise UnreadablePredictions(
                f"{int((~np.isfinite(numbers)).sum())} predictions that are not finite"
            )
        return TaskPredictions(values=numbers)
    return TaskPredictions(values=[str(text) for text in column])


def _find_column(predictions: pd.DataFrame, names: Sequence[str]) -> Any:
    for name in names:
        if name in predictions.columns:
            return predictions[name].to_numpy()
    if len(predictions.columns) == 1:
        return predictions.iloc[:, 0].to_numpy()
    raise UnreadablePredictions(
        f"columns {', '.join(map(str, predictions.columns[:5]))}, and none of {', '.join(names)}"
    )


def _parse_classes(predictions: pd.DataFrame, truth: Truth) -> TaskPredictions:
    place = {name: index for index, name in enumerate(truth.classes)}
    labels = np.array(
        [place.get(_class_name(label), -1) for label in _find_column(predictions, ("label", "prediction"))],
        np.int64,
    )
    if not (labels >= 0).any():
        raise UnreadablePredictions("labels of which none is a class of the data")
    given = [name for name in truth.classes if f"p_{name}" in predictions.columns]
    if not given:
        return TaskPredictions(values=labels)
    chances = np.zeros((len(truth), len(truth.classes)))
    for name in given:
        chances[:, place[name]] = np.asarray(predictions[f"p_{name}"], dtype=np.float64)
    if not np.isfinite(chances).all():
        raise UnreadablePredictions("probabilities that are not finite")
    return TaskPredictions(values=labels, chances=chances)


def _class_name(label: Any) -> str:
    """A class as the data set writes it: 3 and 3.0 are the class `3`."""
    if isinstance(label, (float, np.floating)) and float(label).is_integer():
        return str(int(label))
    return str(label)


# -- metrics -------------------------------------------------------------------------------------------------


def compute_metric(name: str, truth: Truth, answers: TaskPredictions) -> float | None:
    """One metric over all examples; None where it is not defined for these answers.

    Args:
        name: without a prefix, as `trainers.metric_names` has it.
    """
    found = _METRICS[truth.task](name, truth, answers)
    return None if found is None or not np.isfinite(found) else float(found)


def known_metrics(task: str) -> tuple[str, ...]:
    """Names that can be computed from predictions of the task; none for tasks that are not judged so."""
    return {
        "classification": (*_COUNTED, "auc", "loss"),
        "regression": ("mse", "rmse", "mae", "r2"),
        "seq2seq": ("exact_match", "bleu", "chrf"),
        "question-answering": ("exact_match", "f1"),
    }.get(task, ())


def compute_metrics(truth: Truth, answers: TaskPredictions) -> dict[str, float]:
    """Every metric that is defined."""
    found = {name: compute_metric(name, truth, answers) for name in known_metrics(truth.task)}
    return {name: value for name, value in found.items() if value is not None}


def _classification_metric(name: str, truth: Truth, answers: TaskPredictions) -> float | None:
    if name in _COUNTED:
        size = len(truth.classes)
        right = truth.values[truth.values == answers.values]
        named = answers.values[answers.values >= 0]
        counts = [np.bincount(values, minlength=size) for values in (right, truth.values, named)]
        value: float = metrics_from_counts(*counts)[name]
        return value
    if answers.chances is None:
        return None
    return (
        float(-_log_probabilities(truth, answers).mean()) if name == "loss" else _auc(truth, answers.chances)
    )


def _log_probabilities(truth: Truth, answers: TaskPredictions) -> Floats:
    assert answers.chances is not None
    own = answers.chances[np.arange(len(truth)), truth.values]
    return np.asarray(np.log(np.clip(own, _TINY, 1.0)), dtype=np.float64)


def _auc(truth: Truth, chances: Floats) -> float | None:
    """One class against the rest, averaged over the classes that occur."""
    from scipy import stats

    present = np.unique(truth.values)
    if len(present) < 2:
        return None
    areas = []
    for index in present if len(truth.classes) > 2 else present[-1:]:
        positive = truth.values == index
        ranks = stats.rankdata(chances[:, index])
        hits, misses = int(positive.sum()), int((~positive).sum())
        areas.append((ranks[positive].sum() - hits * (hits + 1) / 2) / (hits * misses))
    return float(np.mean(areas))


def _regression_metric(name: str, truth: Truth, answers: TaskPredictions) -> float | None:
    errors = answers.values - truth.values
    square = float((errors**2).mean())
    if name == "r2":
        spread = float(((truth.values - truth.values.mean()) ** 2).mean())
        return 1 - square / spread if spread > 0 else None
    if name == "mae":
        return float(np.abs(errors).mean())
    return square if name == "mse" else math.sqrt(square)


def _text_metric(name: str, truth: Truth, answers: TaskPredictions) -> float | None:
    if name == "exact_match":
        return float(np.mean([a == b for a, b in zip(answers.values, truth.values, strict=True)]))
    from torchmetrics.text import BLEUScore, CHRFScore

    counted = BLEUScore() if name == "bleu" else CHRFScore()
    return float(counted(list(answers.values), [[text] for text in truth.values]))


def _answer_metric(name: str, truth: Truth, answers: TaskPredictions) -> float | None:
    return float(np.mean(_squad_scores(name, truth, answers)))


def _squad_scores(name: str, truth: Truth, answers: TaskPredictions) -> Floats:
    """SQuAD's `exact_match` or `f1` of each example."""
    score = {"exact_match": squad.exact_match, "f1": squad.f1_score}[name]
    return np.array([score(a, b) for a, b in zip(answers.values, truth.values, strict=True)])


_METRICS: Mapping[str, Callable[[str, Truth, TaskPredictions], float | None]] = {
    "classification": _classification_metric,
    "regression": _regression_metric,
    "seq2seq": _text_metric,
    "question-answering": _answer_metric,
}


# -- each example's share ------------------------------------------------------------------------------------


def correct_scores(truth: Truth, answers: TaskPredictions) -> Floats | None:
    """1 where an example is answered rightly, else 0; None for numbers, which are never simply right."""
    if truth.task == "regression":
        return None
    if truth.task == "question-answering":
        return _squad_scores("exact_match", truth, answers)
    pairs = zip(answers.values, truth.values, strict=True)
    return np.array([float(one == other) for one, other in pairs])


def example_scores(name: str, truth: Truth, answers: TaskPredictions) -> Floats | None:
    """Each example's score, whose mean is the metric, turned so that higher is better.

    None where the metric is no mean over examples.
    """
    if name in ("accuracy", "exact_match"):
        return correct_scores(truth, answers)
    if name == "f1" and truth.task == "question-answering":
        return _squad_scores(name, truth, answers)
    if name in ("balanced_accuracy", "recall") and truth.task == "classification":
        return _balanced_scores(truth, answers)
    if name == "loss" and answers.chances is not None:
        return _log_probabilities(truth, answers)
    if name in ("mse", "mae") and truth.task == "regression":
        errors = np.abs(answers.values - truth.values)
        return np.asarray(-(errors**2) if name == "mse" else -errors, dtype=np.float64)
    return None


def _balanced_scores(truth: Truth, answers: TaskPredictions) -> Floats:
    """Right answers weighted so that every class that occurs counts alike."""
    frequency = np.bincount(truth.values, minlength=len(truth.classes))
    weights = len(truth) / ((frequency > 0).sum() * frequency[truth.values])
    return np.asarray((truth.values == answers.values) * weights, dtype=np.float64)


def higher_is_better(name: str) -> bool:
    """Whether a metric of ours should grow."""
    return direction_of(name) == "maximize"


Rows = npt.NDArray[np.bool_] | npt.NDArray[np.int64]


def select_truth(truth: Truth, rows: Rows) -> Truth:
    """Only some of the examples: those marked, or those of these numbers, as often as each is named."""
    return Truth(task=truth.task, classes=truth.classes, values=_select_values(truth.values, rows))


def select_predictions(answers: TaskPredictions, rows: Rows) -> TaskPredictions:
    """The answers to those."""
    chances = None if answers.chances is None else answers.chances[rows]
    return TaskPredictions(values=_select_values(answers.values, rows), chances=chances)


def _select_values(values: Any, rows: Rows) -> Any:
    if isinstance(values, np.ndarray):
        return values[rows]
    return [values[row] for row in np.arange(len(values))[rows]]


def baseline_metric(truth: Truth, name: str) -> float | None:
    """What always answering the most frequent class, or the mean, scores on these very examples."""
    if truth.task == "classification":
        if name in ("loss", "auc"):
            return None
        most = int(np.bincount(truth.values, minlength=len(truth.classes)).argmax())
        return compute_metric(name, truth, TaskPredictions(values=np.full(len(truth), most)))
    if truth.task == "regression":
        return compute_metric(name, truth, TaskPredictions(values=np.full(len(truth), truth.values.mean())))
    if truth.task == "question-answering":
        commonest = Counter(truth.values).most_common(1)[0][0]
        return compute_metric(name, truth, TaskPredictions(values=[commonest] * len(truth)))
    return None
