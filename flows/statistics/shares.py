"""Shares of examples, how far they may be off, and how far apart two of them are."""

from __future__ import annotations

import math


def wilson_interval(share: float, count: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a share.

    E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22, 1927.

    Args:
        share: from 0 to 1, of `count` examples.
    """
    from scipy.stats import binomtest

    found = binomtest(round(share * count), count).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)


def newcombe_interval(
    one: float, count: int, other: float, other_count: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Newcombe's hybrid score interval of one share less another, of different examples.

    R. G. Newcombe, "Interval Estimation for the Difference Between Independent Proportions", Statistics in
    Medicine 17, 1998, method 10.

    Args:
        one, other: from 0 to 1, of `count` and `other_count` examples.
    """
    low, high = wilson_interval(one, count, confidence=confidence)
    other_low, other_high = wilson_interval(other, other_count, confidence=confidence)
    below, above = math.hypot(one - low, other_high - other), math.hypot(high - one, other - other_low)
    return one - other - below, one - other + above


def mid_p(won: int, lost: int) -> float:
    """The exact sign test's one-sided mid-p: as many won or more by chance, just as many counted half."""
    from scipy import stats

    draws = stats.binom(won + lost, 0.5)
    return float(draws.sf(won) + 0.5 * draws.pmf(won))
