"""Bootstraps over examples."""

from __future__ import annotations

import math

import numpy as np

from flows.statistics.scores import Floats, Numbers, paired_differences
from flows.statistics.two_levels import has_no_spread, interval_of_unseen, unseen_share, variance
from flows.statistics.verdicts import CONFIDENCE, PairedComparison

RESAMPLES = 10_000
_CHUNK = 4_000_000  # drawn numbers held at once: 32 MB
_DEARER = 6  # a kind's share of a multinomial draw costs so much more than an example drawn by itself


def paired_bootstrap(
    challenger: Numbers,
    champion: Numbers,
    *,
    confidence: float = CONFIDENCE,
    margin: float = 0.0,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> PairedComparison:
    """Mean difference of two models' scores by the studentised bootstrap over examples.

    Interval and p-value come from the same resampled t statistics (Efron and Tibshirani 1993, An Introduction
    to the Bootstrap, sections 12.5 and 16.4), so they never contradict each other. The p-value is no smaller
    than 1 / (resamples + 1). The interval is kept within the differences that were seen.

    Args:
        challenger: one score an example, the higher the better.
        champion: the same of the other model, the same examples in the same order.
        confidence: of the two-sided interval, and of `better`.
        margin: the difference that must be exceeded.
        seed: of the resampling.
        resamples: how many.
    """
    differences = paired_differences(challenger, champion)
    scores = np.asarray([challenger, champion], dtype=np.float64)
    reach = float(max(np.ptp(scores, axis=1).max(), np.abs(scores).max()))
    low, high, p_value = _studentised_test(differences, reach, margin, confidence, seed, resamples)
    return PairedComparison(
        difference=float(differences.mean()),
        low=low,
        high=high,
        confidence=confidence,
        p_value=p_value,
        margin=margin,
        examples=differences.size,
        deviation=_standard_deviation(differences),
        method="paired bootstrap, studentised",
        won=int((differences > 0).sum()),
        lost=int((differences < 0).sum()),
    )


def _studentised_test(
    differences: Floats, reach: float, margin: float, confidence: float, seed: int, resamples: int
) -> tuple[float, float, float]:
    """Both ends of the interval, and the one-sided p-value."""
    mean, deviation, count = float(differences.mean()), _standard_deviation(differences), differences.size
    if deviation <= 1e-12 * max(1.0, abs(mean)):
        return _test_without_spread(mean, count, reach, margin, confidence, resamples)
    error = deviation / math.sqrt(count)
    ratios = _studentised_ratios(differences, np.random.default_rng(seed), resamples)
    above = int((ratios >= (mean - margin) / error - 1e-12).sum())
    tail = (1 - confidence) / 2
    lowest, highest = np.quantile(ratios, [tail, 1 - tail], method="closest_observation")
    low = max(mean - float(highest) * error, float(differences.min()))
    high = min(mean - float(lowest) * error, float(differences.max()))
    p_value = (1 + above) / (1 + resamples)
    if p_value >= tail:  # one resample decides: the quantile may lie beyond the margin all the same
        low = min(low, margin)
    return low, high, p_value if low > margin else max(p_value, tail)


def _test_without_spread(
    mean: float, count: int, reach: float, margin: float, confidence: float, resamples: int
) -> tuple[float, float, float]:
    """Nothing to resample: the sign test decides, and the interval tells what examples not seen may do.

    Args:
        reach: how far apart, and from 0, the scores lie that were seen: so far a difference that was not may;
            where all are 0, as a perfect model's errors are, 1.
    """
    tail = (1 - confidence) / 2
    sign_p = max(0.5**count, 1 / (resamples + 1))
    apart = max(reach or 1.0, abs(mean)) * (1.0 if sign_p >= tail else unseen_share(count, tail))
    low, high = mean - apart, mean + apart
    return low, high, (sign_p if low > margin else max(sign_p, tail)) if mean > margin else 1.0


def _standard_deviation(differences: Floats) -> float:
    return math.sqrt(variance(differences))


def _resampled_means(table: Floats, rng: np.random.Generator, resamples: int) -> Floats:
    """Means over resampled columns: (rows, columns) to (resamples, rows).

    Equal columns are drawn together by their frequency where that is quicker, which is the same distribution:
    of right or wrong there are few different columns, however many examples.
    """
    kinds, frequency = np.unique(table, axis=1, return_counts=True)
    columns = table.shape[1]
    if kinds.shape[1] * _DEARER > columns:
        return _resample_singly(table, rng, resamples)
    means = np.empty((resamples, table.shape[0]))
    for part in np.array_split(means, 1 + resamples * kinds.shape[1] // _CHUNK):
        part[:] = rng.multinomial(columns, frequency / columns, size=len(part)) @ kinds.T / columns
    return means


def _resample_singly(table: Floats, rng: np.random.Generator, resamples: int) -> Floats:
    columns = table.shape[1]
    means = np.empty((resamples, table.shape[0]))
    for row in means:
        weights = np.bincount(rng.integers(columns, size=columns, dtype=np.int32), minlength=columns)
        row[:] = table @ weights / columns
    return means


def _studentised_ratios(differences: Floats, rng: np.random.Generator, resamples: int) -> Floats:
    """(mean* − mean) / error* of each resample; ±inf where a resample has no spread, but 0 at the mean."""
    count, mean = differences.size, differences.mean()
    centred = differences - mean
    moments = _resampled_means(np.stack([centred, centred**2]), rng, resamples)
    shifts = moments[:, 0]
    variances = np.maximum(moments[:, 1] - shifts**2, 0.0) / max(count - 1, 1)
    flat = variances <= 1e-18 * max(float(np.var(differences)), 1e-300)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(flat, np.sign(shifts) * np.inf, shifts / np.sqrt(variances))
    return np.asarray(np.where(flat & (np.abs(shifts) < 1e-15), 0.0, ratios), dtype=np.float64)


def bootstrap_of_metric(
    difference: float, drawn: Floats, *, examples: int, differing: int, margin: float, confidence: float
) -> PairedComparison:
    """Of a metric that is no mean, from its differences over resampled examples.

    The percentile bootstrap of pairs (Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter
    13); the p-value is the share of resamples in which the margin is not exceeded, and no smaller than the
    least one of the test that swaps the two answers to an example: a handful of examples proves nothing,
    though every resample of them says the same.

    Args:
        difference: over the examples themselves; above 0 the challenger is better.
        drawn: the same of each resample.
        differing: on how many of the examples the two gave different answers.
    """
    tail = (1 - confidence) / 2
    low, high = (float(end) for end in np.quantile(drawn, [tail, 1 - tail]))
    if has_no_spread(drawn):
        low, high = interval_of_unseen(difference, examples, tail)
    share = (1 + int((drawn <= margin).sum())) / (1 + len(drawn))
    if margin >= 0:
        share = max(share, 0.5**differing)
    if share >= tail:
        low = min(low, margin)
    return PairedComparison(
        difference=difference,
        low=low,
        high=high,
        confidence=confidence,
        p_value=share if low > margin else max(share, tail),
        margin=margin,
        examples=examples,
        deviation=float(np.std(drawn, ddof=1)) * math.sqrt(examples),
        method="paired bootstrap of the metric",
        won=0,
        lost=0,
    )
