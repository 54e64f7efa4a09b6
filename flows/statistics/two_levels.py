"""Intervals of a mean over seeds, and over seeds and examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from flows.statistics.scores import Floats, Numbers, stack_scores
from flows.statistics.shares import mid_p
from flows.statistics.verdicts import CONFIDENCE, Interval

_LEAST_LOG_TAIL = -600.0  # of p-values: a number still, and none of zero


def two_level_interval(
    scores_by_seed: Sequence[Numbers], *, confidence: float = CONFIDENCE, different: int | None = None
) -> Interval:
    """The mean score of a configuration, with what both the seeds and the test examples contribute.

    Seeds and examples are crossed (every seed's model meets the same examples), so the variance is that of
    the seeds' means and that of the examples' means, less what both count of their interaction (Owen 2007,
    Annals of Applied Statistics 1(2), 386–411). Each has the t quantile of its own degrees of freedom, by
    Cochran and Cox: of two or three seeds that agree by chance nothing follows. Right or wrong is a share:
    its interval is Wilson's with the number of examples that this amounts to (Korn and Graubard 1998, Survey
    Methodology 24, 193–201), which never has the width 0. Other scores have the t interval, kept within
    their range.

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
    found = _interval_of_table(table, count, confidence)
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
    (Agresti and Min 2005, Statistics in Medicine 24, 729–740), and the p-value is no smaller than signs
    allow, so that few examples claim no certainty; where the two disagree the interval ends at 0.

    Args:
        ones, others: one array of shape (examples,) a seed, the same seeds and examples in the same order.
        different: as `two_level_interval` has it.
    """
    tables = stack_scores(ones), stack_scores(others)
    share = all(np.isin(table, (0.0, 1.0)).all() for table in tables)
    table = tables[0] - tables[1]
    count = min(different or table.shape[1], table.shape[1])
    apart = float(np.abs(np.stack(tables)).max())
    found = _interval_of_table(table, count, confidence, halves=share, reach=apart)
    if not share:
        return found
    found = _limit_by_signs(found, table)
    return replace(found, low=max(found.low, -1.0), high=min(found.high, 1.0))


def _limit_by_signs(found: Interval, table: Floats) -> Interval:
    """No more certain than signs allow, for of a handful of answers Student's distribution knows nothing: of
    one seed McNemar's mid-p of those that differ, of several what the sign test says where all are won."""
    means = table.mean(axis=0)
    won, lost = int((means > 0).sum()), int((means < 0).sum())
    least = 2 * mid_p(max(won, lost), min(won, lost)) if len(table) == 1 else 2 * 0.5 ** (won + lost)
    p_value = min(1.0, max(found.p_value or 0.0, least))
    if p_value < 1 - found.confidence:
        return replace(found, p_value=p_value)
    return replace(found, p_value=p_value, low=min(found.low, 0.0), high=max(found.high, 0.0))


def _interval_of_table(
    table: Floats, count: int, confidence: float, *, halves: bool = False, reach: float = 0.0
) -> Interval:
    """As above. `reach`: how far from 0 the scores lie whose difference the table is."""
    estimate, spread = float(table.mean()), _measure_spread(table, count, halves=halves)
    tail = (1 - confidence) / 2
    if spread.reach(tail) <= 1e-12 * max(1.0, abs(estimate)):
        return _interval_without_spread(estimate, count, confidence, reach)
    low, high = estimate - spread.reach(tail), estimate + spread.reach(tail)
    p_value = spread.p_value(estimate)
    return Interval(estimate=estimate, low=low, high=high, confidence=confidence, p_value=p_value)


def interval_over_seeds(values: Numbers, *, confidence: float = CONFIDENCE) -> Interval | None:
    """Student's t interval of a mean over seeds, for a metric of which no example has a share of its own.

    Args:
        values: one number a seed.

    Returns:
        None for fewer than two, where one is not finite, and where they have no spread: seeds that agree by
        chance tell nothing.
    """
    numbers = np.asarray(values, dtype=np.float64).ravel()
    if numbers.size < 2 or not np.isfinite(numbers).all():
        return None
    mean, error = float(numbers.mean()), math.sqrt(variance(numbers) / numbers.size)
    if error <= 1e-12 * max(1.0, abs(mean)):
        return None
    from scipy import stats

    reach = error * float(stats.t.isf((1 - confidence) / 2, numbers.size - 1))
    p_value = float(2 * stats.t.sf(abs(mean) / error, numbers.size - 1))
    return Interval(
        estimate=mean, low=mean - reach, high=mean + reach, confidence=confidence, p_value=p_value
    )


def _interval_without_spread(estimate: float, examples: int, confidence: float, reach: float) -> Interval:
    """Of scores that are all the same: the sign test, and what examples not seen may do: as much as these
    again, and where there is no difference as much as the scores themselves."""
    tail = (1 - confidence) / 2
    p_value = min(1.0, 2 * 0.5**examples) if estimate else 1.0
    certain = p_value < 2 * tail or estimate == 0
    apart = (abs(estimate) or reach) * (unseen_share(examples, tail) if certain else 1.0)
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


def has_no_spread(drawn: Floats) -> bool:
    """Whether all resamples say the same."""
    return float(np.ptp(drawn)) <= 1e-12 * max(1.0, float(np.abs(drawn).max()))


def interval_of_unseen(difference: float, examples: int, tail: float) -> tuple[float, float]:
    """Around a difference of a metric from 0 to 1 that every resample has: what examples not seen may do."""
    most = max(1.0, abs(difference))
    apart = most * unseen_share(examples, tail)
    return max(difference - apart, -most), min(difference + apart, most)


def _share_interval(table: Floats, count: int, confidence: float) -> Interval:
    """Wilson's interval of a share, with the number of examples that both levels' variance amounts to."""
    from scipy import stats

    estimate, tail = float(table.mean()), (1 - confidence) / 2
    examples, spread = float(count), estimate * (1 - estimate)
    quantile, reach = float(stats.norm.isf(tail)), _measure_spread(table, count).reach(tail)
    if reach > 0:
        examples = min(spread * (quantile / reach) ** 2, float(table.shape[0] * count))
    square = quantile**2
    centre = (estimate + square / (2 * examples)) / (1 + square / examples)
    reach = quantile * math.sqrt(spread / examples + square / (4 * examples**2)) / (1 + square / examples)
    low, high = max(0.0, min(centre - reach, estimate)), min(1.0, max(centre + reach, estimate))
    return Interval(estimate=estimate, low=low, high=high, confidence=confidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spread:
    """The variance of a mean over seeds and examples, by where it comes from.

    Attributes:
        over_seeds, over_examples: of the seeds' and of the examples' means, each with their interaction.
        of_examples: that of the examples without the interaction, which stands with the seeds.
        seeds, examples: how many.
    """

    over_seeds: float
    over_examples: float
    of_examples: float
    seeds: int
    examples: int

    def reach(self, tail: float) -> float:
        """Half the width of the interval that misses the mean in `tail` of cases on each side.

        By Cochran and Cox (Experimental Designs, 1957, section 4.14), who weight the quantiles by the
        variances: with few seeds it is cautious, where Satterthwaite's degrees of freedom miss in 10 to 18 of
        100 cases. No less than over the examples alone, whose interaction with the seeds is well known.
        """
        from scipy.special import stdtrit  # Student's quantile, without the cost of a distribution object

        quantile = -float(stdtrit(max(self.examples - 1, 1), tail))
        alone, total = math.sqrt(self.over_examples) * quantile, self.over_seeds + self.of_examples
        if self.seeds == 1 or total == 0:
            return alone
        wide = self.of_examples * quantile - self.over_seeds * float(stdtrit(self.seeds - 1, tail))
        return max(alone, wide / math.sqrt(total))

    def p_value(self, estimate: float) -> float:
        """Two-sided, of a mean of 0: at that level the interval around the estimate ends there."""
        from scipy import optimize

        def excess(log_tail: float) -> float:
            return self.reach(math.exp(log_tail)) - abs(estimate)

        if excess(_LEAST_LOG_TAIL) <= 0:
            return 2 * math.exp(_LEAST_LOG_TAIL)
        return min(1.0, 2 * math.exp(optimize.brentq(excess, _LEAST_LOG_TAIL, math.log(0.5), xtol=1e-10)))


def _measure_spread(table: Floats, count: int, *, halves: bool = False) -> _Spread:
    """How far the mean of scores (seeds, examples) may be off.

    Args:
        count: how many different examples there are.
        halves: whether half an example won and half an example lost are added.
    """
    seeds, means = table.shape[0], table.mean(axis=0)
    over_examples = float(means.var()) / max(count - 1, 1)
    if halves:
        squares = float((means**2).mean()) * count
        over_examples = (squares + 1 - count * float(means.mean()) ** 2) / (count + 2) ** 2
    rest = table - means - table.mean(axis=1, keepdims=True) + table.mean()
    interaction = float((rest**2).mean()) / max((seeds - 1) * (count - 1), 1)
    return _Spread(
        over_seeds=variance(table.mean(axis=1)) / seeds,
        over_examples=over_examples,
        of_examples=max(over_examples - interaction, 0.0),
        seeds=seeds,
        examples=count,
    )


def variance(values: Floats) -> float:
    """The sample's variance; 0 of one value."""
    return float(values.var(ddof=1)) if values.size > 1 else 0.0
