"""Bootstraps over examples, and over seeds and examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from flows.statistics.scores import Floats, Numbers, paired_differences, stack_scores
from flows.statistics.verdicts import CONFIDENCE, Interval, PairedComparison

RESAMPLES = 10_000
_CHUNK = 4_000_000  # drawn numbers held at once: 32 MB
_DEARER = 6  # a kind's share of a multinomial draw costs so much more than an example drawn by itself


def two_level_bootstrap(
    scores_by_seed: Sequence[Numbers],
    *,
    confidence: float = CONFIDENCE,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """The mean score of a configuration, with what both the seeds and the test examples contribute.

    Seeds and examples are crossed (every seed's model meets the same examples), so each resample draws seeds
    and, once for all of them, examples: the pigeonhole bootstrap (Owen 2007, Annals of Applied Statistics
    1(2), 386–411). Percentiles of means over three or five seeds cannot reach beyond those seeds and cover
    too little, so the interval is the t interval with the bootstrap's standard error (Hesterberg 2015, The
    American Statistician 69(4), section 5): its variance is corrected for dividing by n, and the degrees of
    freedom are those of the two levels' sum by Satterthwaite. It is kept within the scores' range.

    Args:
        scores_by_seed: one array of shape (examples,) a seed, the same examples in the same order. With one
            seed the interval is over examples alone.
        confidence: of the two-sided interval.
        seed: of the resampling.
        resamples: how many.
    """
    table = stack_scores(scores_by_seed)
    estimate = float(table.mean())
    if table.std() == 0:
        return _point_interval(estimate, confidence)
    seeds, rng = table.shape[0], np.random.default_rng(seed)
    by_example = _resampled_means(table, rng, resamples)  # (resamples, seeds)
    drawn = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)
    means = (by_example * drawn).sum(axis=1) / seeds
    freedom, shrunk = _degrees_of_freedom(table)
    found = _t_interval(estimate, float(means.std(ddof=1)) / math.sqrt(shrunk), freedom, confidence)
    low, high = max(found.low, float(table.min())), min(found.high, float(table.max()))
    return replace(found, low=low, high=high)


def interval_over_seeds(values: Numbers, *, confidence: float = CONFIDENCE) -> Interval | None:
    """Student's t interval of a mean over seeds, for a metric of which no example has a share of its own.

    Args:
        values: one number a seed.

    Returns:
        None for fewer than two.
    """
    numbers = np.asarray(values, dtype=np.float64).ravel()
    if numbers.size < 2:
        return None
    mean, error = float(numbers.mean()), math.sqrt(_variance(numbers) / numbers.size)
    return _t_interval(mean, error, numbers.size - 1.0, confidence)


def _t_interval(estimate: float, error: float, freedom: float, confidence: float) -> Interval:
    from scipy import stats

    if error == 0:
        return _point_interval(estimate, confidence)
    reach = error * float(stats.t.ppf(0.5 + confidence / 2, freedom))
    p_value = float(2 * stats.t.sf(abs(estimate) / error, freedom))
    return Interval(
        estimate=estimate, low=estimate - reach, high=estimate + reach, confidence=confidence, p_value=p_value
    )


def _point_interval(estimate: float, confidence: float) -> Interval:
    """Of numbers without any spread."""
    p_value = 0.0 if estimate else 1.0
    return Interval(estimate=estimate, low=estimate, high=estimate, confidence=confidence, p_value=p_value)


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
    low, high, p_value = _studentised_test(differences, margin, confidence, seed, resamples)
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
    differences: Floats, margin: float, confidence: float, seed: int, resamples: int
) -> tuple[float, float, float]:
    """Both ends of the interval, and the one-sided p-value."""
    mean, deviation, count = float(differences.mean()), _standard_deviation(differences), differences.size
    if deviation <= 1e-12 * max(1.0, abs(mean)):  # nothing to resample: the sign test decides
        return mean, mean, max(0.5**count, 1 / (resamples + 1)) if mean > margin else 1.0
    error = deviation / math.sqrt(count)
    ratios = _studentised_ratios(differences, np.random.default_rng(seed), resamples)
    above = int((ratios >= (mean - margin) / error - 1e-12).sum())
    tail = (1 - confidence) / 2
    lowest, highest = np.quantile(ratios, [tail, 1 - tail], method="closest_observation")
    low = max(mean - float(highest) * error, float(differences.min()))
    high = min(mean - float(lowest) * error, float(differences.max()))
    return low, high, (1 + above) / (1 + resamples)


def _standard_deviation(differences: Floats) -> float:
    return math.sqrt(_variance(differences))


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
    step = max(1, _CHUNK // kinds.shape[1])
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        weights = rng.multinomial(columns, frequency / columns, size=size)
        means[start : start + size] = weights @ kinds.T / columns
    return means


def _resample_singly(table: Floats, rng: np.random.Generator, resamples: int) -> Floats:
    columns = table.shape[1]
    means = np.empty((resamples, table.shape[0]))
    for index in range(resamples):
        weights = np.bincount(rng.integers(columns, size=columns, dtype=np.int32), minlength=columns)
        means[index] = table @ weights / columns
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


def _degrees_of_freedom(table: Floats) -> tuple[float, float]:
    """Degrees of freedom of the mean's variance over both levels (Satterthwaite), and the share of that
    variance which a bootstrap shows: it divides by n where n - 1 is right."""
    counts = np.array(table.shape, dtype=np.float64)
    parts = np.array([_variance(table.mean(axis=1)), _variance(table.mean(axis=0))]) / counts
    parts = parts if parts.sum() > 0 else np.ones(2)
    total, free = float(parts.sum()), np.maximum(counts - 1, 1.0)
    freedom = total**2 / float((parts**2 / free).sum())
    return freedom, float((parts * (counts - 1) / counts).sum()) / total


def _variance(values: Floats) -> float:
    return float(values.var(ddof=1)) if values.size > 1 else 0.0
