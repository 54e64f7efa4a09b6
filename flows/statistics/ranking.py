"""Which places in a ranking mean something, when several candidates are compared at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from statistics import stdev

FLAT = 1e-12  # accuracies over few examples are often the same, but for rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class RankingEntry:
    """One candidate of a ranking.

    Attributes:
        values: its metric, one number a seed (or the one number there is).
        seeds: the seeds in the same order; two candidates with the same seeds are compared in pairs.
        standard_error: of a single value, from the examples that it was measured on; None where unknown.
    """

    values: tuple[float, ...]
    seeds: tuple[int, ...] = ()
    standard_error: float | None = None


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p-values adjusted for being several: reject those at most the level, and one false rejection among all
    is no likelier than it (Holm 1979, Scandinavian Journal of Statistics 6, 65–70).

    Args:
        p_values: of the single tests, in any order; None where there was no test, which counts for none.

    Returns:
        The adjusted ones in the order given.
    """
    known = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for done, (p, index) in enumerate(known):
        highest = max(highest, min(1.0, (len(known) - done) * p))
        adjusted[index] = highest
    return adjusted


def difference_p_value(one: RankingEntry, other: RankingEntry) -> float | None:
    """Two-sided p-value of "the two have the same mean"; None where nothing is known about the spread.

    A paired t-test over the same seeds; Welch's over different ones; for single values a z-test by their
    standard errors, taken as independent, which is cautious for two models judged on the same examples.
    """
    from scipy import stats

    if min(len(one.values), len(other.values)) >= 2:
        paired = one.seeds == other.seeds and len(one.values) == len(other.values)
        return _paired_p(one.values, other.values) if paired else _welch_p(one.values, other.values)
    if one.standard_error is None or other.standard_error is None or not one.values or not other.values:
        return None
    gap = _mean(one.values) - _mean(other.values)
    error = (one.standard_error**2 + other.standard_error**2) ** 0.5
    if error == 0:
        return 1.0 if _is_flat((gap, 0.0)) else None
    return float(2 * stats.norm.sf(abs(gap) / error))


def _paired_p(one: Sequence[float], other: Sequence[float]) -> float:
    from scipy import stats

    differences = [a - b for a, b in zip(one, other, strict=True)]
    if _is_flat(differences):
        return _sign_p(_mean(differences), len(differences))
    return float(stats.ttest_rel(one, other).pvalue)


def _welch_p(one: Sequence[float], other: Sequence[float]) -> float:
    from scipy import stats

    if _is_flat(one) and _is_flat(other):
        return _sign_p(_mean(one) - _mean(other), min(len(one), len(other)))
    # of moments: `ttest_ind` warns of a lost precision where one of the two alone has no spread
    known = ((_mean(values), stdev(values), len(values)) for values in (one, other))
    return float(stats.ttest_ind_from_stats(*chain(*known), equal_var=False).pvalue)


def _sign_p(gap: float, seeds: int) -> float:
    """Without any spread a t-test has no answer, and a sign test has one: each seed went the same way."""
    return 1.0 if _is_flat((gap, 0.0)) else float(2 * 0.5**seeds)


def _is_flat(values: Sequence[float]) -> bool:
    return max(values) - min(values) < FLAT


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
