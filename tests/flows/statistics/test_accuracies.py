"""McNemar's test and the comparison of F1: against scipy, searches, and all ways to swap the answers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import optimize, stats

from flows.statistics import PairedComparison, compare_f1, f1_values, mcnemar
from flows.statistics.two_levels import unseen_share


def mid_p(won: int, lost: int) -> float:
    """Of as many won or more, the very number by half, where each is won or lost by chance."""
    count = won + lost
    return sum(math.comb(count, k) * (0.5 if k == won else 1.0) for k in range(won, count + 1)) / 2**count


def tango_score(won: int, lost: int, count: int, margin: float) -> float:
    """The score statistic, with the likelihood's maximum under the margin found by search."""

    def unlikely(share: float) -> float:
        parts = (won, share + margin), (lost, share), (count - won - lost, 1 - 2 * share - margin)
        return -sum(number * math.log(chance) for number, chance in parts if number)

    ends = max(0.0, -margin) + 1e-12, (1 - margin) / 2 - 1e-12
    best = optimize.minimize_scalar(unlikely, bounds=ends, method="bounded", options={"xatol": 1e-12}).x
    return (won - lost - count * margin) / math.sqrt(count * (2 * best + margin * (1 - margin)))


def compare_counts(won: int, lost: int, equal: int, **settings: float) -> PairedComparison:
    one, other = [1] * won + [0] * lost + [1] * equal, [0] * won + [1] * lost + [1] * equal
    return mcnemar(one, other, **settings)


@pytest.mark.parametrize(("won", "lost", "equal"), [(9, 2, 30), (3, 11, 40), (30, 12, 200), (4, 1, 3)])
@pytest.mark.parametrize("margin", [-0.1, -0.02, 0.0, 0.03, 0.1])
def test_p_value_is_tango_s_and_at_and_above_no_difference_the_exact_test_s_too(
    won: int, lost: int, equal: int, margin: float
) -> None:
    found = compare_counts(won, lost, equal, margin=margin)
    tango = stats.norm.sf(tango_score(won, lost, won + lost + equal, margin))
    exact = mid_p(won, lost)
    wanted = tango if margin < 0 else max(exact, tango)
    if margin == 0 and not exact < 0.025 <= tango:
        wanted = exact
    assert found.p_value == pytest.approx(wanted, rel=1e-4)
    assert found.method.startswith("McNemar, mid-p" if margin == 0 else "McNemar with a margin")
    assert (found.won, found.lost, found.examples) == (won, lost, won + lost + equal)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize(("won", "lost", "equal"), [(12, 2, 30), (3, 11, 40), (30, 12, 200)])
def test_interval_ends_at_tango_s_quantile_on_either_side(
    won: int, lost: int, equal: int, confidence: float
) -> None:
    found = compare_counts(won, lost, equal, confidence=confidence)
    quantile = stats.norm.isf((1 - confidence) / 2)
    for end, wanted in ((found.low, quantile), (found.high, -quantile)):
        assert tango_score(won, lost, won + lost + equal, end) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("count", [1, 2, 10])
def test_interval_of_models_that_differ_on_all_examples_ends_at_one(count: int) -> None:
    better, worse = compare_counts(count, 0, 0), compare_counts(0, count, 0)
    assert (better.difference, better.high) == (1.0, pytest.approx(1.0))
    assert (worse.difference, worse.low) == (-1.0, pytest.approx(-1.0))
    assert max(better.high, -worse.low) <= 1.0
    assert better.low == pytest.approx(-worse.high)
    assert better.deviation == worse.deviation == 0.0
    assert (better.better, worse.better) == (count == 10, False)
    same = compare_counts(0, 0, count)
    assert (same.difference, same.p_value) == (0.0, 0.5)
    square = stats.norm.isf(0.025) ** 2
    assert (-same.low, same.high) == pytest.approx((square / (count + square),) * 2)
    sure = compare_counts(count, 1, 5, confidence=1 - 2**-53)
    assert (sure.low, sure.high) == pytest.approx((-1.0, 1.0))


def test_few_examples_at_the_exact_test_s_very_level_are_not_told_apart() -> None:
    """Four of four have a mid-p of 1/32; Tango's interval alone begins above 0."""
    level = 1 - 2 / 32
    one, other = compare_counts(4, 0, 200, confidence=level), compare_counts(0, 4, 200, confidence=level)
    assert (one.low, one.better, one.p_value) == (0.0, False, 1 / 32)
    assert (other.high, other.better) == (0.0, False)
    clear = compare_counts(5, 0, 200, confidence=level)
    assert clear.low > 0


@pytest.mark.parametrize(("won", "lost", "equal"), [(1, 0, 1), (5, 3, 12)])
def test_deviation_is_that_of_the_sample(won: int, lost: int, equal: int) -> None:
    differences = np.repeat([1.0, -1.0, 0.0], [won, lost, equal])
    assert compare_counts(won, lost, equal).deviation == pytest.approx(differences.std(ddof=1))


def f1_of(named: np.ndarray, said: np.ndarray) -> float:
    hits = float((named & said).sum())
    return 2 * hits / (named.sum() + said.sum()) if hits else 0.0


def made_answers(count: int, seed: int, right: tuple[float, float]) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    named = rng.random(count) < 0.4
    return [named, *(np.where(rng.random(count) < share, named, ~named) for share in right)]


@pytest.mark.parametrize("seed", range(4))
def test_f1_of_both_models_is_twice_the_hits_of_all_that_is_named_or_said(seed: int) -> None:
    named, one, other = made_answers(30, seed, (0.8, 0.6))
    assert f1_values(named, one, other) == pytest.approx((f1_of(named, one), f1_of(named, other)))
    nothing = np.zeros(30, np.bool_)
    assert f1_values(nothing, nothing, one) == (0.0, 0.0)
    single = np.arange(30) == 3
    assert f1_values(single, single, nothing) == (1.0, 0.0)


def swapped_p(named: np.ndarray, one: np.ndarray, other: np.ndarray) -> float:
    """The share of all ways to swap the two's answers in which the gap is larger, equal ones by half."""
    gap, places = f1_of(named, one) - f1_of(named, other), np.flatnonzero(one != other)
    beyond = 0.0
    for swaps in itertools.product([False, True], repeat=len(places)):
        first, second = one.copy(), other.copy()
        chosen = places[np.array(swaps)]
        first[chosen], second[chosen] = other[chosen], one[chosen]
        moved = f1_of(named, first) - f1_of(named, second)
        beyond += 0.5 if abs(moved - gap) < 1e-9 else moved > gap
    return beyond / 2 ** len(places)


@pytest.mark.parametrize("seed", [1, 2, 3, 5])
def test_p_value_of_f1_is_that_of_all_ways_to_swap_the_answers(seed: int) -> None:
    """Of 2,000 draws a share is off by 0.045 in four deviations of its chance."""
    named, one, other = made_answers(16, seed, (0.9, 0.6))
    assert 2 <= (one != other).sum() <= 10
    found = compare_f1(named, one, other)
    assert found.p_value == pytest.approx(swapped_p(named, one, other), abs=0.045)
    assert found.better == (found.low > 0) == (found.p_value < 0.025)
    turned = compare_f1(named, other, one)
    assert turned.p_value == pytest.approx(1 - found.p_value, abs=0.06)
    if min(found.p_value, turned.p_value) >= 0.025:
        assert found.low <= 0 <= found.high
    assert (found.won, found.lost) == (turned.lost, turned.won)


@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_interval_of_f1_is_the_percentile_bootstrap_s(confidence: float) -> None:
    """Drawn here example by example, there by how many of each kind; 2,000 draws each."""
    named, one, other = made_answers(300, 7, (0.9, 0.75))
    rng, drawn = np.random.default_rng(9), []
    for _ in range(2_000):
        rows = rng.integers(300, size=300)
        drawn.append(f1_of(named[rows], one[rows]) - f1_of(named[rows], other[rows]))
    found = compare_f1(named, one, other, confidence=confidence)
    ends = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    assert (found.low, found.high) == pytest.approx(tuple(ends), abs=0.012)
    assert found.difference == pytest.approx(f1_of(named, one) - f1_of(named, other))
    assert found.deviation == pytest.approx(np.std(drawn) * math.sqrt(300), rel=0.1)
    assert (found.examples, found.margin, found.confidence) == (300, 0.0, confidence)


def test_p_value_of_f1_is_never_none_and_of_equal_answers_a_half() -> None:
    named = np.arange(80) < 40
    found = compare_f1(named, named, np.zeros(80, np.bool_))
    assert found.p_value == pytest.approx(0.5 / 2_001)
    assert compare_f1(named, np.zeros(80, np.bool_), named).p_value == pytest.approx(2_000.5 / 2_001)
    same = compare_f1(named, named, named)
    assert same.p_value == pytest.approx(0.5)
    reach = unseen_share(80, 0.025)
    assert (same.low, same.high) == pytest.approx((-reach, reach))


def test_comparison_of_recorded_answers_is_drawn_again_to_the_last_digits() -> None:
    """Written down once: `history --recompute` of later versions must find what is recorded."""
    named = np.arange(60) % 2 == 0
    one = np.where(np.arange(60) % 7 == 0, ~named, named)
    other = np.where(np.arange(60) % 4 == 1, ~named, named)
    found = compare_f1(named, one, other)
    assert (found.low, found.high) == pytest.approx((-0.07411974273738978, 0.16793401339408975), rel=1e-9)
    assert found.p_value == pytest.approx(0.21414292853573214, rel=1e-12)
    assert found.deviation == pytest.approx(0.4896698074731653, rel=1e-9)


def test_f1_that_fell_on_three_examples_alone_cannot_be_told_from_chance() -> None:
    """All resamples but 3 of 100 have one of them; of the ways to swap them one in eight is as far apart."""
    named, place = np.arange(12) < 6, np.arange(12)
    missing = named & (place >= 3)
    rise, fall = (compare_f1(named, *pair, confidence=0.9) for pair in ((named, missing), (missing, named)))
    assert (rise.low, fall.high) == (0.0, 0.0)
    clear = compare_f1(named, named & (place >= 5), named, confidence=0.9)
    assert clear.high < 0


def test_f1_at_the_very_level_of_its_p_value_cannot_be_told_from_chance() -> None:
    named, place = np.arange(12) < 6, np.arange(12)
    missing = named & (place >= 3)
    p_value = compare_f1(named, named, missing).p_value
    level = 1 - 2 * p_value
    assert (1 - level) / 2 == p_value  # to the last digit
    assert compare_f1(named, named, missing, confidence=level).low == 0.0
    assert compare_f1(named, named, missing, confidence=level - 1e-9).low > 0.0
    turned = compare_f1(named, missing, named, confidence=level)
    assert turned.high <= 0.0
