"""McNemar's test, and a class's F1: two models' right and wrong answers to the same questions."""

from __future__ import annotations

import math

import numpy as np

from flows.statistics.scores import Bools, Floats, Numbers, paired_differences
from flows.statistics.shares import mid_p
from flows.statistics.two_levels import has_no_spread, interval_of_unseen
from flows.statistics.verdicts import CONFIDENCE, PairedComparison


def mcnemar(
    challenger_right: Numbers, champion_right: Numbers, *, confidence: float = CONFIDENCE, margin: float = 0.0
) -> PairedComparison:
    """McNemar's test of two models' accuracies on the same examples.

    Tango's score test and its inversion (Tango 1998, Statistics in Medicine 17, 891–908); against no
    difference the exact binomial's **mid-p** too, which keeps its level on few examples (Fagerland, Lydersen
    and Laake 2013, BMC Medical Research Methodology 13:91). Where the two disagree about no difference, the
    interval ends there: so interval and p-value say the same.

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
    tail = (1 - confidence) / 2
    if mid_p(won, lost) >= tail:
        low = min(low, 0.0)
    if mid_p(lost, won) >= tail:
        high = max(high, 0.0)
    return PairedComparison(
        difference=(won - lost) / count,
        low=low,
        high=high,
        confidence=confidence,
        p_value=_one_sided_p(won, lost, count, margin, tail),
        margin=margin,
        examples=count,
        deviation=float(differences.std(ddof=1)) if count > 1 else 0.0,
        method="McNemar, mid-p" if margin == 0 else "McNemar with a margin, Tango's score test",
        won=won,
        lost=lost,
    )


def _one_sided_p(won: int, lost: int, count: int, margin: float, tail: float) -> float:
    """The exact test's without a margin, unless only it rejects, which the interval then does not show."""
    tango, exact = _tango_p(won, lost, count, margin), mid_p(won, lost)
    if margin < 0:
        return tango
    return exact if margin == 0 and not exact < tail <= tango else max(exact, tango)


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


F1_RESAMPLES = 2_000


def compare_f1(
    named: Bools, one: Bools, other: Bools, *, confidence: float = CONFIDENCE, seed: int = 0
) -> PairedComparison:
    """One class's F1 of two models on the same examples: the first one's less the other's.

    The interval is the percentile bootstrap's over examples, drawn by the eight kinds that there are of them;
    the p-value that of the permutation test which swaps the two answers to an example (mid-p), as McNemar's
    does. Where the two disagree about no difference, the interval ends there.

    Args:
        named: whether each example is of the class, shape (examples,).
        one, other: whether each model says so.
        confidence: of the two-sided interval.
    """
    kinds, rng = _count_kinds(named, one, other), np.random.default_rng(seed)
    count, gap = len(named), float(np.subtract(*_f1_of_kinds(kinds)))
    drawn = np.subtract(
        *_f1_of_kinds(rng.multinomial(count, kinds / count, size=F1_RESAMPLES).astype(np.float64))
    )
    tail = (1 - confidence) / 2
    low, high = (float(end) for end in np.quantile(drawn, [tail, 1 - tail]))
    if has_no_spread(drawn):
        low, high = interval_of_unseen(gap, count, tail)
    null = np.subtract(*_f1_of_kinds(_swap_answers(kinds, rng)))
    above, below = (_mid_share(sign * null, sign * gap) for sign in (1, -1))
    return PairedComparison(
        difference=gap,
        low=min(low, 0.0) if above >= tail else low,
        high=max(high, 0.0) if below >= tail else high,
        confidence=confidence,
        p_value=above,
        margin=0.0,
        examples=count,
        deviation=float(drawn.std(ddof=1)) * math.sqrt(count),
        method="permutation of the answers",
        won=int(kinds[6] + kinds[1]),
        lost=int(kinds[5] + kinds[2]),
    )


def _swap_answers(kinds: Floats, rng: np.random.Generator) -> Floats:
    """Counts of the kinds [F1_RESAMPLES, 8], had chance decided which answer to an example is whose."""
    swapped = np.tile(kinds, (F1_RESAMPLES, 1))
    for left, right in ((1, 2), (5, 6)):  # of and not of the class: said by the other alone, by the one alone
        either = kinds[left] + kinds[right]
        swapped[:, left] = rng.binomial(int(either), 0.5, size=F1_RESAMPLES)
        swapped[:, right] = either - swapped[:, left]
    return swapped


def f1_values(named: Bools, one: Bools, other: Bools) -> tuple[float, float]:
    """Both models' F1 of a class."""
    first, second = _f1_of_kinds(_count_kinds(named, one, other))
    return float(first), float(second)


def _count_kinds(named: Bools, one: Bools, other: Bools) -> Floats:
    return np.bincount(named * 4 + one * 2 + other, minlength=8).astype(np.float64)


def _mid_share(null: Floats, found: float) -> float:
    """The share of a null distribution beyond what was found, ties by half; never 0."""
    beyond, ties = (null > found + 1e-12).sum(), (np.abs(null - found) <= 1e-12).sum()
    return float((beyond + 0.5 * ties + 0.5) / (len(null) + 1))


def _f1_of_kinds(kinds: Floats) -> tuple[Floats, Floats]:
    """Both models' F1 from counts of the kinds [..., 8], whose number is 4 named + 2 one + other."""
    named = kinds[..., 4:].sum(axis=-1)

    def f1(right: list[int], wrong: list[int]) -> Floats:
        hits = kinds[..., right].sum(axis=-1)
        both = named + hits + kinds[..., wrong].sum(axis=-1)
        found = np.divide(2 * hits, both, out=np.zeros_like(both), where=both > 0)
        return np.asarray(found, dtype=np.float64)

    return f1([6, 7], [2, 3]), f1([5, 7], [1, 3])
