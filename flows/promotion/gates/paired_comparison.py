"""The paired test of a challenger's answers and a champion's to the same examples, by the metric."""

from __future__ import annotations

import numpy as np

from flows.config.policy import Policy
from flows.promotion.gates.gate import GateInputs
from flows.promotion.gates.predictions import Floats, TaskPredictions, Truth, select_predictions, select_truth
from flows.promotion.gates.scoring import compute_metric, example_scores, higher_is_better, text_counts_of
from flows.statistics import PairedComparison, bootstrap_of_metric, mcnemar, paired_bootstrap
from trainers.tasks.text_overlap import COUNTS, text_metric

RESAMPLES = 2_000


def compare_with_champion(policy: Policy, case: GateInputs) -> PairedComparison | None:
    """The paired test of the metric; None without a champion, or where it is not defined for both."""
    if case.champion is None or any(
        compute_metric(case.metric, case.truth, answers) is None
        for answers in (case.challenger, case.champion)
    ):
        return None
    rule = policy.compare
    return compare_paired(
        case.metric, case.truth, case.challenger, case.champion,
        margin=rule.margin, confidence=rule.confidence,
    )  # fmt: skip


def compare_paired(
    name: str,
    truth: Truth,
    challenger: TaskPredictions,
    champion: TaskPredictions,
    *,
    margin: float,
    confidence: float,
) -> PairedComparison:
    """The paired test of a metric: McNemar's for right or wrong, a bootstrap for everything else.

    For metrics that are no means (F1, AUC, R2, BLEU) the metric's difference over resampled examples.
    """
    one, other = (example_shares(name, truth, answers) for answers in (challenger, champion))
    if one is not None and other is not None:
        return compare_shares(name, one, other, margin=margin, confidence=confidence)
    sign = 1.0 if higher_is_better(name) else -1.0
    drawn = sign * _resampled_metric(name, truth, challenger, champion)
    whole = [compute_metric(name, truth, answers) or 0.0 for answers in (challenger, champion)]
    return bootstrap_of_metric(
        sign * (whole[0] - whole[1]), drawn,
        examples=len(truth), differing=_count_differing(name, challenger, champion),
        margin=margin, confidence=confidence,
    )  # fmt: skip


def _count_differing(name: str, challenger: TaskPredictions, champion: TaskPredictions) -> int:
    """On how many examples the two say different things, as the metric sees them."""
    if name == "auc" and challenger.chances is not None and champion.chances is not None:
        return int((challenger.chances != champion.chances).any(axis=1).sum())
    return int((np.asarray(challenger.values) != np.asarray(champion.values)).sum())


def example_shares(name: str, truth: Truth, answers: TaskPredictions) -> Floats | None:
    """Each example's score, [N], or what it adds to a metric whose counts add up, [N, counts]; else None."""
    return text_counts_of(name, truth, answers) if name in COUNTS else example_scores(name, truth, answers)


def compare_shares(
    name: str, one: Floats, other: Floats, *, margin: float, confidence: float
) -> PairedComparison:
    """The paired test of what `example_shares` gives of both."""
    if name in COUNTS:
        generator, count = np.random.default_rng(0), len(one)
        weights = generator.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
        drawn = np.subtract(*(text_metric(name, weights @ given) for given in (one, other)))
        whole = float(np.subtract(*(text_metric(name, given.sum(axis=0)) for given in (one, other))))
        return bootstrap_of_metric(
            whole, drawn, examples=count, differing=int((one != other).any(axis=1).sum()),
            margin=margin, confidence=confidence,
        )  # fmt: skip
    test = mcnemar if name in ("accuracy", "exact_match") and is_binary(one, other) else paired_bootstrap
    return test(one, other, confidence=confidence, margin=margin)


def is_binary(*scores: Floats) -> bool:
    return all(np.isin(given, (0.0, 1.0)).all() for given in scores)


def _resampled_metric(
    name: str, truth: Truth, challenger: TaskPredictions, champion: TaskPredictions
) -> Floats:
    """Differences over resamples for which the metric is defined."""
    generator, drawn = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        rows = generator.integers(0, len(truth), len(truth))
        some = select_truth(truth, rows)
        one = compute_metric(name, some, select_predictions(challenger, rows))
        other = compute_metric(name, some, select_predictions(champion, rows))
        if one is not None and other is not None:
            drawn.append(one - other)
    return np.array(drawn)
