"""McNemar's test: two models' right and wrong answers to the same questions."""

from __future__ import annotations

import math

import numpy as np

from flows.statistics.scores import Numbers, paired_differences
from flows.statistics.verdicts import CONFIDENCE, PairedComparison


def mcnemar(
    challenger_right: Numbers,
    champion_right: Numbers,
    *,
    confidence: float = CONFIDENCE,
    margin: float = 0.0,
) -> PairedComparison:
    """McNemar's test of two models' accuracies on the same examples.

    Without a margin the p-value is the exact binomial's **mid-p**, which keeps its level where the exact test
    is needlessly cautious (Fagerland, Lydersen and Laake 2013, BMC Medical Research Methodology 13:91). With
    one it is Tango's score test, whose inversion is the interval in both cases (Tango 1998, Statistics in
    Medicine 17, 891–908).

    Args:
        challenger_right: whether each example was answered rightly, shape (examples,).
        champion_right: the same of the other model, the same examples in the same order.
        confidence: of the two-sided interval, and of `better`.
        margin: the difference of accuracies that must be exceeded, in -1 … 1.

    Raises:
        ValueError: no example, different numbers of them, or values that are neither right nor wrong.
    """
    differences = paired_differences(challenger_right, champion_right)
    if not np.isin(differences, (-1.0, 0.0, 1.0)).all():
        raise ValueError("McNemar's test takes answers that are right (1) or wrong (0)")
    count, won, lost = differences.size, int((differences > 0).sum()), int((differences < 0).sum())
    low, high = _tango_interval(won, lost, count, confidence)
    return PairedComparison(
        difference=(won - lost) / count,
        low=low,
        high=high,
        confidence=confidence,
        p_value=_mid_p(won, lost) if margin == 0 else _tango_p(won, lost, count, margin),
        margin=margin,
        examples=count,
        deviation=float(differences.std(ddof=1)) if count > 1 else 0.0,
        method="McNemar, mid-p" if margin == 0 else "McNemar with a margin, Tango's score test",
        won=won,
        lost=lost,
    )


def _mid_p(won: int, lost: int) -> float:
    from scipy import stats

    draws = stats.binom(won + lost, 0.5)
    return float(draws.sf(won) + 0.5 * draws.pmf(won))


def _tango_score(won: int, lost: int, count: int, margin: float) -> float:
    """Tango's statistic of the difference (won − lost) / count against `margin`."""
    b = -won - lost + (2 * count - won + lost) * margin
    c = -lost * margin * (1 - margin)
    q = (math.sqrt(max(b * b - 8 * count * c, 0.0)) - b) / (4 * count)
    variance = count * (2 * q + margin * (1 - margin))
    shift = won - lost - count * margin
    if variance <= 0:
        return math.copysign(math.inf, shift) if shift else 0.0
    return shift / math.sqrt(variance)


def _tango_p(won: int, lost: int, count: int, margin: float) -> float:
    from scipy import stats

    return float(stats.norm.sf(_tango_score(won, lost, count, margin)))


def _tango_interval(won: int, lost: int, count: int, confidence: float) -> tuple[float, float]:
    from scipy import optimize, stats

    z, found = float(stats.norm.ppf(0.5 + confidence / 2)), (won - lost) / count

    def solve_bound(far: float, wanted: float) -> float:
        def gap(margin: float) -> float:
            return min(max(_tango_score(won, lost, count, margin), -1e6), 1e6) - wanted

        if abs(found - far) < 1e-9:
            return far
        return float(optimize.brentq(gap, far, found)) if gap(far) * gap(found) < 0 else far

    return solve_bound(-1 + 1e-9, z), solve_bound(1 - 1e-9, -z)
