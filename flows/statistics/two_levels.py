"""Intervals of a mean over seeds, and over seeds and examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from flows.statistics.scores import Floats, Numbers, stack_scores
from flows.statistics.verdicts import CONFIDENCE, Interval


def two_level_interval(
    scores_by_seed: Sequence[Numbers], *, confidence: float = CONFIDENCE, different: int | None = None
) -> Interval:
    """The mean score of a configuration, with what both the seeds and the test examples contribute.

    Seeds and examples are crossed (every seed's model meets the same examples), so the variance is that of
    the seeds' means and that of the examples' means, less what both count of their interaction (Owen 2007,
    Annals of Applied Statistics 1(2), 386–411), and its degrees of freedom are Satterthwaite's. Right or
    wrong is a share: its interval is Wilson's with the number of examples that this variance amounts to
    (Korn and Graubard 1998, Survey Methodology 24, 193–201), which never has the width 0. Other scores
    have the t interval, kept within their range.

    Args:
        scores_by_seed: one array of shape (examples,) a seed, the same examples in the same order. With one
            seed the interval is over examples alone.
        confidence: of the two-sided interval.
        different: how many examples differ from each other, where copies are among them: a copy says nothing
            new, so the variance is that of so many examples (as if each stood there equally often).
    """
    table = stack_scores(scores_by_seed)
    count = min(different or table.shape[1], table.shape[1])
    if np.isin(table, (0.0, 1.0)).all():
        return _share_interval(table, count, confidence)
    found = _interval_of_table(table, count, 0.0, confidence)
    if table.std() == 0:
        return found
    return replace(found, low=max(found.low, float(table.min())), high=min(found.high, float(table.max())))


def two_level_difference(
    ones: Sequence[Numbers],
    others: Sequence[Numbers],
    *,
    confidence: float = CONFIDENCE,
    different: int | None = None,
) -> Interval:
    """The difference of two configurations' mean scores on the same seeds and examples, with a p-value.

    As `two_level_interval`; of right and wrong half an example won and half an example lost are added
    (Agresti and Min 2005, Statistics in Medicine 24, 729–740), so that few examples claim no certainty.

    Args:
        ones, others: one array of shape (examples,) a seed, the same seeds and examples in the same order.
        different: as `two_level_interval` has it.
    """
    tables = stack_scores(ones), stack_scores(others)
    share = all(np.isin(table, (0.0, 1.0)).all() for table in tables)
    table = tables[0] - tables[1]
    count = min(different or table.shape[1], table.shape[1])
    return _interval_of_table(table, count, 1.0 if share else 0.0, confidence)


def _interval_of_table(table: Floats, count: int, added: float, confidence: float) -> Interval:
    estimate, (error, freedom) = float(table.mean()), _standard_error(table, count, added=added)
    if error <= 1e-12 * max(1.0, abs(estimate)):
        return _interval_without_spread(estimate, count, confidence)
    return _t_interval(estimate, error, freedom, confidence)


def interval_over_seeds(values: Numbers, *, confidence: float = CONFIDENCE) -> Interval | None:
    """Student's t interval of a mean over seeds, for a metric of which no example has a share of its own.

    Args:
        values: one number a seed.

    Returns:
        None for fewer than two, and where they have no spread: seeds that agree by chance tell nothing.
    """
    numbers = np.asarray(values, dtype=np.float64).ravel()
    mean, error = float(numbers.mean()) if numbers.size else 0.0, _error_of_mean(numbers)
    if numbers.size < 2 or error <= 1e-12 * max(1.0, abs(mean)):
        return None
    return _t_interval(mean, error, numbers.size - 1.0, confidence)


def _t_interval(estimate: float, error: float, freedom: float, confidence: float) -> Interval:
    from scipy import stats

    reach = error * float(stats.t.ppf(0.5 + confidence / 2, freedom))
    p_value = float(2 * stats.t.sf(abs(estimate) / error, freedom))
    return Interval(
        estimate=estimate, low=estimate - reach, high=estimate + reach, confidence=confidence, p_value=p_value
    )


def _interval_without_spread(estimate: float, examples: int, confidence: float) -> Interval:
    """Of scores that are all the same: the sign test, and what examples not seen may do."""
    tail = (1 - confidence) / 2
    p_value = min(1.0, 2 * 0.5**examples) if estimate else 1.0
    apart = abs(estimate) * (1.0 if p_value >= 2 * tail else unseen_share(examples, tail))
    return Interval(
        estimate=estimate,
        low=estimate - apart,
        high=estimate + apart,
        confidence=confidence,
        p_value=max(p_value, 1e-4),
    )


def unseen_share(examples: int, tail: float) -> float:
    """The largest share of all examples of which none may be among these, but in `tail` of cases (Clopper
    and Pearson 1934, Biometrika 26, 404–413)."""
    return float(1 - tail ** (1 / examples))


def _share_interval(table: Floats, count: int, confidence: float) -> Interval:
    """Wilson's interval of a share, with the number of examples that both levels' variance amounts to."""
    from scipy import stats

    estimate, (error, freedom) = float(table.mean()), _standard_error(table, count)
    examples, spread = float(count), estimate * (1 - estimate)
    quantile = float(stats.norm.ppf(0.5 + confidence / 2))
    if error > 0:
        wider = (quantile / float(stats.t.ppf(0.5 + confidence / 2, freedom))) ** 2
        examples = min(spread / error**2 * wider, float(table.shape[0] * count))
    square = quantile**2
    centre = (estimate + square / (2 * examples)) / (1 + square / examples)
    reach = quantile * math.sqrt(spread / examples + square / (4 * examples**2)) / (1 + square / examples)
    low, high = max(0.0, centre - reach), min(1.0, centre + reach)
    return Interval(estimate=estimate, low=low, high=high, confidence=confidence)


def _standard_error(table: Floats, count: int, *, added: float = 0.0) -> tuple[float, float]:
    """The mean's standard error over both levels, and its degrees of freedom.

    Args:
        count: how many different examples there are.
        added: squares of pseudo-examples, of which there are twice as many.
    """
    seeds = table.shape[0]
    means = table.mean(axis=0)
    of_examples = float(means.var()) / max(count - 1, 1)
    if added:
        whole, squares = count + 2 * added, float((means**2).mean()) * count
        of_examples = (squares + added - count * float(means.mean()) ** 2) / whole**2
    of_seeds = variance(table.mean(axis=1)) / seeds
    rest = table - means - table.mean(axis=1, keepdims=True) + table.mean()
    both = float((rest**2).mean()) / max((seeds - 1) * (count - 1), 1)
    of_seeds = max(of_seeds - both, 0.0)  # the interaction is in both: counted once, with the examples
    total = of_seeds + of_examples
    if total == 0:
        return 0.0, 1.0
    free = of_seeds**2 / max(seeds - 1, 1) + of_examples**2 / max(count - 1, 1)
    return math.sqrt(total), total**2 / free


def _error_of_mean(values: Floats) -> float:
    return math.sqrt(variance(values) / max(values.size, 1))


def variance(values: Floats) -> float:
    """The sample's variance; 0 of one value."""
    return float(values.var(ddof=1)) if values.size > 1 else 0.0
