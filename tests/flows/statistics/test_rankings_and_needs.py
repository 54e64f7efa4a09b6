"""Comparisons within a ranking, the examples that a decision needs, and shares: against scipy and papers."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from flows.statistics import (
    Interval,
    PairedComparison,
    RankingEntry,
    difference_p_value,
    examples_needed,
    paired_bootstrap,
)
from flows.statistics.shares import newcombe_interval, wilson_interval


def entry(*values: float, seeds: tuple[int, ...] = (), error: float | None = None) -> RankingEntry:
    return RankingEntry(values=values, seeds=seeds, standard_error=error)


def test_entries_of_two_seeds_are_compared_by_their_values() -> None:
    one, other = entry(0.9, 0.8, seeds=(1, 2)), entry(0.85, 0.7, seeds=(1, 2))
    assert difference_p_value(one, other) == pytest.approx(stats.ttest_rel(one.values, other.values).pvalue)
    apart = entry(0.85, 0.7, seeds=(3, 4))
    welch = stats.ttest_ind(one.values, other.values, equal_var=False).pvalue
    assert difference_p_value(one, apart) == pytest.approx(welch)


def test_entries_without_seeds_and_of_unequal_numbers_are_compared_as_strangers() -> None:
    one, other = entry(0.9, 0.8, 0.85), entry(0.7, 0.75)
    welch = stats.ttest_ind(one.values, other.values, equal_var=False).pvalue
    assert difference_p_value(one, other) == pytest.approx(welch)


@pytest.mark.parametrize(
    ("one", "other", "p_value"),
    [
        (entry(0.9, 0.9, 0.9, seeds=(1, 2, 3)), entry(0.8, 0.8, seeds=(4, 5)), 2 / 2**2),
        (entry(0.9, 0.9, 0.9, seeds=(1, 2, 3)), entry(0.8, 0.8, 0.8, seeds=(1, 2, 3)), 2 / 2**3),
        (entry(0.9, 0.9, seeds=(1, 2)), entry(0.9, 0.9, 0.9, seeds=(3, 4, 5)), 1.0),
        (entry(0.7, 0.9, seeds=(1, 2)), entry(0.7, 0.9, seeds=(1, 2)), 1.0),
    ],
)
def test_entries_without_spread_are_told_apart_by_signs(
    one: RankingEntry, other: RankingEntry, p_value: float
) -> None:
    assert difference_p_value(one, other) == pytest.approx(p_value)
    assert difference_p_value(other, one) == pytest.approx(p_value)


def test_entry_without_spread_is_told_from_one_with_spread_by_welch() -> None:
    flat, wide = entry(0.9, 0.9, 0.9, seeds=(1, 2, 3)), entry(0.7, 0.8, 0.6, seeds=(4, 5, 6))
    wanted = 2 * stats.t.sf(0.2 / math.sqrt(0.1**2 / 3), 2)  # the one's own degrees of freedom, and its error
    assert difference_p_value(flat, wide) == pytest.approx(wanted)
    assert difference_p_value(wide, flat) == pytest.approx(wanted)


def test_single_value_is_compared_with_several_by_standard_errors() -> None:
    several = entry(0.8, 0.9, error=0.03)
    wanted = 2 * stats.norm.sf(0.1 / math.hypot(0.03, 0.04))
    for single in (entry(0.95, error=0.04), entry(0.75, error=0.04)):
        assert difference_p_value(single, several) == pytest.approx(wanted)
        assert difference_p_value(several, single) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (entry(0.9, error=0.1), entry(0.8)),
        (entry(0.9), entry(0.8, error=0.1)),
        (entry(error=0.1), entry(0.8, error=0.1)),
        (entry(0.8, error=0.1), entry(error=0.1)),
        (entry(0.9, error=0.0), entry(0.8, error=0.0)),
    ],
)
def test_entries_of_whose_spread_nothing_is_known_are_not_compared(
    one: RankingEntry, other: RankingEntry
) -> None:
    assert difference_p_value(one, other) is None


def test_equal_values_without_an_error_are_not_told_apart() -> None:
    assert difference_p_value(entry(0.9, error=0.0), entry(0.9, error=0.0)) == 1.0


@pytest.mark.parametrize("power", [0.8, 0.9])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
@pytest.mark.parametrize(("difference", "margin"), [(0.03, 0.0), (0.05, 0.02), (0.1, -0.05)])
def test_examples_needed_are_those_of_the_normal_approximation(
    difference: float, margin: float, confidence: float, power: float
) -> None:
    level, wanted = stats.norm.ppf(confidence), stats.norm.ppf(power)
    by_deviation = examples_needed(
        difference=difference, deviation=0.4, margin=margin, power=power, confidence=confidence
    )
    assert by_deviation == math.ceil(((level + wanted) * 0.4 / (difference - margin)) ** 2)
    for discordance in (0.2, 0.12):
        spread = level * math.sqrt(discordance - margin**2) + wanted * math.sqrt(discordance - difference**2)
        found = examples_needed(
            difference=difference, discordance=discordance, margin=margin, power=power, confidence=confidence
        )
        assert found == math.ceil((spread / (difference - margin)) ** 2)


def test_examples_needed_have_their_edges() -> None:
    assert examples_needed(difference=0.1, discordance=0.0) == examples_needed(
        difference=0.1, discordance=0.1
    )  # as many must differ as the difference has
    assert examples_needed(difference=10.0, deviation=0.1) == 1
    assert examples_needed(difference=0.1, deviation=1.0, margin=0.1) is None
    assert examples_needed(difference=1.0, discordance=1.0, margin=-1.0) == 1
    with pytest.raises(ValueError, match="one of"):
        examples_needed(difference=0.1, discordance=0.1, deviation=0.1)


@pytest.mark.parametrize(("right", "count"), [(0, 10), (7, 10), (81, 263)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_wilson_interval_is_that_of_his_formula(right: int, count: int, confidence: float) -> None:
    share, z = right / count, stats.norm.isf((1 - confidence) / 2)
    middle = share + z**2 / (2 * count)
    reach = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    wanted = [(middle + side * reach) / (1 + z**2 / count) for side in (-1, 1)]
    assert wilson_interval(share, count, confidence=confidence) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        ((56, 70), (48, 80), (0.0524, 0.3339)),
        ((9, 10), (3, 10), (0.1705, 0.8090)),
        ((6, 7), (2, 7), (0.0582, 0.8062)),
        ((5, 56), (0, 29), (-0.0381, 0.1926)),
        ((10, 10), (0, 20), (0.6791, 1.0)),
    ],
)
def test_newcombe_interval_is_that_of_his_table(
    one: tuple[int, int], other: tuple[int, int], wanted: tuple[float, float]
) -> None:
    """Statistics in Medicine 17, 1998, table II, method 10."""
    found = newcombe_interval(one[0] / one[1], one[1], other[0] / other[1], other[1])
    assert found == pytest.approx(wanted, abs=5e-5)


@pytest.mark.parametrize(
    ("challenger", "champion", "said"),
    [([], [], "same examples"), ([1.0, 2.0], [1.0, math.inf], "finite"), ([math.nan], [1.0], "finite")],
)
def test_scores_that_cannot_be_compared_are_refused(
    challenger: list[float], champion: list[float], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        paired_bootstrap(challenger, champion)


def comparison(low: float, margin: float) -> PairedComparison:
    return PairedComparison(
        difference=0.1, low=low, high=0.2, confidence=0.95, p_value=0.01, margin=margin, examples=40,
        deviation=0.3, method="a test", won=7, lost=3,
    )  # fmt: skip


def test_comparison_is_better_above_its_margin_alone_and_knows_how_many_differ() -> None:
    assert [comparison(low, 0.05).better for low in (0.04, 0.05, 0.06)] == [False, False, True]
    assert comparison(0.0, 0.0).discordance == 0.25
    document = comparison(0.06, 0.05).to_json()
    assert (document["better"], document["won"], document["method"]) == (True, 7, "a test")
    plain = Interval(estimate=0.5, low=0.4, high=0.6, confidence=0.9)
    assert plain.to_json() == {
        "estimate": 0.5, "low": 0.4, "high": 0.6, "confidence": 0.9, "p_value": None,
    }  # fmt: skip
