"""Metrics of predictions by name, as training has them, and each example's share in them.

Shape legend: N examples, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import mode

import numpy as np

from flows.promotion.gates.predictions import Floats, TaskPredictions, Truth
from trainers.metric_names import direction_of
from trainers.tasks import squad
from trainers.tasks.rankings import ndcg, recall
from trainers.tasks.regression import metrics_from_sums
from trainers.tasks.scores import log_likelihoods, metrics_from_counts
from trainers.tasks.text_overlap import text_counts, text_metric

_COUNTED = ("accuracy", "balanced_accuracy", "precision", "recall", "f1")
_KNOWN: Mapping[str, tuple[str, ...]] = {
    "classification": (*_COUNTED, "auc", "loss"),
    "regression": ("mse", "rmse", "mae", "r2"),
    "seq2seq": ("exact_match", "bleu", "chrf", "rouge1", "rougeL"),
    "question-answering": ("exact_match", "f1"),
    "recommendation": ("ndcg_10", "recall_10"),
}


def compute_metric(name: str, truth: Truth, answers: TaskPredictions) -> float | None:
    """One metric over all examples; None where it is not defined for these answers.

    Args:
        name: without a prefix, as `trainers.metric_names` has it.
    """
    found = _METRICS[truth.task](name, truth, answers)
    return None if found is None or not np.isfinite(found) else float(found)


def known_metrics(task: str) -> tuple[str, ...]:
    """Names that can be computed from predictions of the task; none for tasks that are not judged so."""
    return _KNOWN.get(task, ())


def judged_metrics() -> tuple[str, ...]:
    """The same of all tasks."""
    return tuple(dict.fromkeys(name for names in _KNOWN.values() for name in names))


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
    if name == "loss":
        return float(-log_likelihoods(answers.chances, truth.values).mean())
    return _auc(truth, answers.chances) if name == "auc" else None


def _auc(truth: Truth, chances: Floats) -> float | None:
    """One class against the rest, averaged over the classes that occur."""
    import torch

    from trainers.tasks.classification import roc_areas

    present = np.unique(truth.values)
    if len(present) < 2:
        return None
    columns = present if len(truth.classes) > 2 else present[-1:]
    positive = torch.from_numpy(truth.values[:, None] == columns)
    return float(roc_areas(torch.from_numpy(chances[:, columns]), positive).mean())


def _regression_metric(name: str, truth: Truth, answers: TaskPredictions) -> float | None:
    error, spread = answers.values - truth.values, truth.values - truth.values.mean()
    sums = [np.array([values.sum()]) for values in (error**2, np.abs(error), spread**2)]
    return metrics_from_sums(len(truth), *sums, scale=np.ones_like(sums[0])).get(name)


def _text_metric(name: str, truth: Truth, answers: TaskPredictions) -> float | None:
    if name == "exact_match":
        return float(np.mean([a == b for a, b in zip(answers.values, truth.values, strict=True)]))
    return float(text_metric(name, text_counts_of(name, truth, answers).sum(axis=0)))


def text_counts_of(name: str, truth: Truth, answers: TaskPredictions) -> Floats:
    """What each text adds to a metric of texts, [N, counts]."""
    return np.stack([text_counts(name, *pair) for pair in zip(answers.values, truth.values, strict=True)])


def _answer_metric(name: str, truth: Truth, answers: TaskPredictions) -> float | None:
    return float(np.mean(_squad_scores(name, truth, answers)))


def _squad_scores(name: str, truth: Truth, answers: TaskPredictions) -> Floats:
    """SQuAD's `exact_match` or `f1` of each example."""
    score = {"exact_match": squad.exact_match, "f1": squad.f1_score}[name]
    return np.array([score(a, b) for a, b in zip(answers.values, truth.values, strict=True)])


def _ranking_metric(name: str, truth: Truth, answers: TaskPredictions) -> float | None:
    return float(np.mean(_ranking_scores(name, truth, answers)))


def _ranking_scores(name: str, truth: Truth, answers: TaskPredictions) -> Floats:
    """`ndcg_10` or `recall_10` of each user's answers."""
    score = {"ndcg_10": ndcg, "recall_10": recall}[name]
    return np.array(
        [score(given, wanted) for given, wanted in zip(answers.values, truth.values, strict=True)]
    )


_METRICS: Mapping[str, Callable[[str, Truth, TaskPredictions], float | None]] = {
    "classification": _classification_metric,
    "regression": _regression_metric,
    "seq2seq": _text_metric,
    "question-answering": _answer_metric,
    "recommendation": _ranking_metric,
}


# -- each example's share ------------------------------------------------------------------------------------


def correct_scores(truth: Truth, answers: TaskPredictions) -> Floats | None:
    """1 where an example is answered rightly, else 0 (of rankings `ndcg_10`); None for numbers, which are
    never simply right."""
    if truth.task == "regression":
        return None
    if truth.task == "question-answering":
        return _squad_scores("exact_match", truth, answers)
    if truth.task == "recommendation":
        return _ranking_scores("ndcg_10", truth, answers)
    pairs = zip(answers.values, truth.values, strict=True)
    return np.array([float(one == other) for one, other in pairs])


def example_scores(name: str, truth: Truth, answers: TaskPredictions) -> Floats | None:
    """Each example's score, whose mean is the metric, turned so that higher is better.

    None where the metric is no mean over examples.
    """
    if name in ("accuracy", "exact_match"):
        return correct_scores(truth, answers)
    if truth.task == "recommendation":
        return _ranking_scores(name, truth, answers)
    if name == "f1" and truth.task == "question-answering":
        return _squad_scores(name, truth, answers)
    if name in ("balanced_accuracy", "recall") and truth.task == "classification":
        return _balanced_scores(name, truth, answers)
    if name == "loss" and answers.chances is not None:
        return log_likelihoods(answers.chances, truth.values)
    if name in ("mse", "mae") and truth.task == "regression":
        errors = np.abs(answers.values - truth.values)
        return np.asarray(-(errors**2) if name == "mse" else -errors, dtype=np.float64)
    return None


def _balanced_scores(name: str, truth: Truth, answers: TaskPredictions) -> Floats:
    """Right answers weighted so that every class that occurs counts alike; of `recall`, those too that only
    an answer names."""
    frequency, counted = np.bincount(truth.values, minlength=len(truth.classes)), truth.values
    if name == "recall":
        counted = np.concatenate([counted, answers.values[answers.values >= 0]])
    weights = len(truth) / (len(np.unique(counted)) * frequency[truth.values])
    return np.asarray((truth.values == answers.values) * weights, dtype=np.float64)


def higher_is_better(name: str) -> bool:
    """Whether a metric of ours should grow."""
    return direction_of(name) == "maximize"


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
        return compute_metric(name, truth, TaskPredictions(values=[mode(truth.values)] * len(truth)))
    return None
