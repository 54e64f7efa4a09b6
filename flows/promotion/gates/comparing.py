"""Gates that hold a challenger against the champion on the same examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from flows.config.policy import Policy
from flows.promotion.gates.findings import GateFinding, gate_finding
from flows.promotion.gates.scoring import (
    TaskPredictions,
    Truth,
    compute_metric,
    correct_scores,
    example_scores,
    higher_is_better,
    select_predictions,
    select_truth,
)
from flows.statistics import PairedComparison, examples_needed, mcnemar, paired_bootstrap
from flows.terminal.formatting import number

RESAMPLES = 2_000
Rows = npt.NDArray[np.bool_]


def compare_paired(
    name: str,
    truth: Truth,
    challenger: TaskPredictions,
    champion: TaskPredictions,
    *,
    margin: float,
    confidence: float,
) -> PairedComparison:
    """The paired test of a metric: McNemar's for right or wrong, a bootstrap for everything else."""
    one, other = example_scores(name, truth, challenger), example_scores(name, truth, champion)
    if one is None or other is None:
        return _bootstrap_metric(name, truth, challenger, champion, margin=margin, confidence=confidence)
    if name in ("accuracy", "exact_match"):
        return mcnemar(one, other, confidence=confidence, margin=margin)
    return paired_bootstrap(one, other, confidence=confidence, margin=margin)


def _bootstrap_metric(
    name: str,
    truth: Truth,
    challenger: TaskPredictions,
    champion: TaskPredictions,
    *,
    margin: float,
    confidence: float,
) -> PairedComparison:
    """For metrics that are no means (F1, AUC, R2, BLEU): the metric's difference over resampled examples.

    The percentile bootstrap of pairs (Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter
    13); the p-value is the share of resamples in which the margin is not exceeded.
    """
    sign = 1.0 if higher_is_better(name) else -1.0
    generator = np.random.default_rng(0)
    drawn = []
    for _ in range(RESAMPLES):
        rows = generator.integers(0, len(truth), len(truth))
        found = _metric_difference(
            name,
            select_truth(truth, rows),
            select_predictions(challenger, rows),
            select_predictions(champion, rows),
        )
        if found is not None:
            drawn.append(sign * found)
    difference = sign * (_metric_difference(name, truth, challenger, champion) or 0.0)
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    below = int((np.asarray(drawn) <= margin).sum())
    return PairedComparison(
        difference=difference, low=float(low), high=float(high), confidence=confidence,
        p_value=(1 + below) / (1 + len(drawn)), margin=margin, examples=len(truth),
        deviation=float(np.std(drawn, ddof=1)) * len(truth) ** 0.5,
        method="paired bootstrap of the metric", won=0, lost=0,
    )  # fmt: skip


def _metric_difference(name: str, truth: Truth, one: TaskPredictions, other: TaskPredictions) -> float | None:
    first, second = compute_metric(name, truth, one), compute_metric(name, truth, other)
    return None if first is None or second is None else first - second


def is_better(found: PairedComparison) -> bool:
    """Whether the two-sided interval lies above the margin: half of what it may miss is on that side."""
    return found.difference > found.margin and found.p_value < (1 - found.confidence) / 2


def better_gate(name: str, found: PairedComparison) -> GateFinding:
    """The gate `better`."""
    shown = "" if found.margin == 0 else f" by more than {number(found.margin)}"
    interval = f"{found.low:+.4g} to {found.high:+.4g} at {found.confidence:.0%}"
    holds = is_better(found)
    return gate_finding(
        "better",
        holds,
        limit=f"{name} better than the champion's{shown}",
        found=f"{found.difference:+.4g} ({interval})",
        by=f"p = {number(found.p_value, 2)} ({found.method}, {found.examples:,} examples)",
        needed=None if holds else _examples_to_decide(found),
        value=found.difference,
        bound=found.margin,
    )


def _examples_to_decide(found: PairedComparison) -> int | None:
    """How many examples would show the difference that was found, were it the true one."""
    spread = (
        {"discordance": found.discordance}
        if found.won + found.lost
        else {"deviation": found.deviation or None}
    )
    if all(value is None for value in spread.values()):
        return None
    confidence = 1 - (1 - found.confidence) / 2
    return examples_needed(difference=found.difference, margin=found.margin, confidence=confidence, **spread)


def class_gates(
    policy: Policy, truth: Truth, challenger: TaskPredictions, champion: TaskPredictions
) -> Iterator[GateFinding]:
    """One gate a class that occurs: its recall may not fall by more than `classes.max_drop`."""
    if truth.task != "classification":
        return
    for index, name in enumerate(truth.classes):
        rows = truth.values == index
        if rows.any():
            yield _drop_gate(
                f"class {name}",
                policy.classes.max_drop,
                policy.compare.confidence,
                select_truth(truth, rows),
                select_predictions(challenger, rows),
                select_predictions(champion, rows),
            )


def slice_gates(
    policy: Policy,
    slices: Mapping[str, Rows],
    truth: Truth,
    challenger: TaskPredictions,
    champion: TaskPredictions,
) -> Iterator[GateFinding]:
    """One gate a slice of enough examples."""
    if policy.slices is None:
        return
    for name, rows in slices.items():
        if rows.sum() >= policy.slices.min_examples:
            yield _drop_gate(
                f"slice {name}",
                policy.slices.max_drop,
                policy.compare.confidence,
                select_truth(truth, rows),
                select_predictions(challenger, rows),
                select_predictions(champion, rows),
            )


def _drop_gate(
    gate: str,
    most: float,
    confidence: float,
    truth: Truth,
    challenger: TaskPredictions,
    champion: TaskPredictions,
) -> GateFinding:
    """Refused where the score fell by more than the limit and the fall is no accident of few examples.

    A fall is tested one-sided, without a correction for being several: a gate that guards may be wary.
    """
    one, other = _slice_scores(truth, challenger), _slice_scores(truth, champion)
    before, after = float(other.mean()), float(one.mean())
    unit = abs(before) if truth.task == "regression" and before else 1.0
    drop = round((before - after) / unit, 12)
    if truth.task == "regression":
        test = paired_bootstrap(other, one, confidence=confidence)
        spread = {"deviation": test.deviation}
    else:
        test = mcnemar(other, one, confidence=confidence)
        spread = {"discordance": test.discordance}
    real = test.p_value < 1 - confidence
    held = drop <= most + 1e-12
    note = "" if held or real else f" (p = {number(test.p_value, 2)}: cannot be told from chance)"
    needed = None
    if not held and not real:
        needed = examples_needed(difference=drop * unit, confidence=confidence, **spread)
    sign = -1.0 if truth.task == "regression" else 1.0
    words = (
        "squared error " if truth.task == "regression" else ""
    ) + f"{number(sign * before)} → {number(sign * after)}"
    return gate_finding(
        gate,
        held or not real,
        limit=f"falls by at most {number(most)}",
        found=f"{words} of {len(truth):,}{note}",
        by=f"{number(abs(drop - most), 3)} {'over' if not held else 'within'}",
        needed=needed,
        value=drop,
        bound=most,
    )


def _slice_scores(truth: Truth, answers: TaskPredictions) -> npt.NDArray[np.float64]:
    found = correct_scores(truth, answers)
    if found is not None:
        return found
    squared = example_scores("mse", truth, answers)
    assert squared is not None
    return squared
