"""Intervals over seeds and examples: against the analysis of variance, scipy, and their edges by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats

from flows.statistics import interval_over_seeds, paired_bootstrap, two_level_difference, two_level_interval
from flows.statistics.two_levels import has_no_spread, interval_of_unseen, unseen_share


def reach_by_squares(table: np.ndarray, tail: float, added: float = 0.0) -> float:
    """Half an interval's width by the sums of squares of a table [seeds, examples], cell by cell.

    Args:
        added: 1 with half an example won and half an example lost.
    """
    seeds, examples = table.shape
    mean, rows, columns = table.mean(), table.mean(axis=1), table.mean(axis=0)
    of_rows = sum((row - mean) ** 2 for row in rows) / max(seeds - 1, 1) / seeds
    squares = sum(column**2 for column in columns) - examples * mean**2
    of_columns = squares / (examples - 1) / examples
    if added:
        of_columns = (squares + added) / (examples + 2) ** 2
    left = sum(
        (table[row, column] - rows[row] - columns[column] + mean) ** 2
        for row in range(seeds)
        for column in range(examples)
    )
    own = max(of_columns - left / max((seeds - 1) * (examples - 1), 1) / (seeds * examples), 0.0)
    wide, alone = stats.t.isf(tail, examples - 1), 0.0
    if seeds > 1 and own + of_rows:
        alone = (own * wide + of_rows * stats.t.isf(tail, seeds - 1)) / math.sqrt(own + of_rows)
    return max(alone, wide * math.sqrt(of_columns))


def made_scores(seeds: int, examples: int, of_seed: float, of_cell: float, mean: float = 0.4) -> np.ndarray:
    rng = np.random.default_rng(seeds * 100 + examples)
    own, alike = rng.normal(0, of_seed, (seeds, 1)), rng.normal(0, 1.0, (1, examples))
    return mean + own + alike + rng.normal(0, of_cell, (seeds, examples))


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize(
    ("seeds", "examples", "of_seed", "of_cell"),
    [
        (2, 3, 0.1, 0.3),
        (2, 60, 0.0, 0.2),
        (3, 40, 0.2, 0.5),
        (5, 12, 1.0, 0.1),
        (2, 40, 0.0, 9.0),
        (2, 2, 0.0, 0.5),
        (1, 9, 0, 1),
    ],
)
def test_interval_is_the_analysis_of_variance_with_each_level_s_quantile(
    seeds: int, examples: int, of_seed: float, of_cell: float, confidence: float
) -> None:
    table = made_scores(seeds, examples, of_seed, of_cell)
    found, reach = (
        two_level_interval(list(table), confidence=confidence),
        reach_by_squares(table, (1 - confidence) / 2),
    )
    assert found.estimate == pytest.approx(table.mean())
    assert found.confidence == confidence
    assert found.low == pytest.approx(max(table.mean() - reach, table.min()), rel=1e-9)
    assert found.high == pytest.approx(min(table.mean() + reach, table.max()), rel=1e-9)
    apart = two_level_difference(list(table), list(0 * table + 0.5), confidence=confidence)
    ends = (table.mean() - 0.5 - reach, table.mean() - 0.5 + reach)
    assert (apart.low, apart.high) == pytest.approx(ends, rel=1e-9)


@pytest.mark.parametrize("seeds", [1, 2, 4])
def test_p_value_of_a_difference_is_the_level_at_which_its_interval_ends_at_zero(seeds: int) -> None:
    table = made_scores(seeds, 50, 0.05, 0.2, mean=0.3)
    for shift in (0.0, 1.0, -0.5):
        moved = table + shift
        found = two_level_difference(list(moved), list(0 * moved))
        assert found.p_value is not None
        assert 0 < found.p_value < 1
        assert reach_by_squares(moved, found.p_value / 2) == pytest.approx(abs(moved.mean()), rel=1e-6)


def test_p_value_of_many_close_scores_is_student_s_down_to_its_floor() -> None:
    scores = np.random.default_rng(3).normal(0.003, 0.04, 2_000)
    found = two_level_interval([scores])
    assert found.p_value == pytest.approx(stats.ttest_1samp(scores, 0.0).pvalue, rel=1e-6)
    assert two_level_interval([1 + scores / 100]).p_value == pytest.approx(
        2 * math.exp(-600.0), rel=1e-9, abs=0.0
    )
    even = two_level_difference([[0.5, 1.5, 1.0]], [[1.5, 0.5, 1.0]])
    assert (even.estimate, even.p_value) == (0.0, pytest.approx(1.0))


@pytest.mark.parametrize(("won", "lost", "equal"), [(5, 2, 20), (0, 3, 5), (1, 1, 1), (40, 10, 300)])
def test_difference_of_rights_adds_half_an_example_won_and_half_one_lost(
    won: int, lost: int, equal: int
) -> None:
    """Agresti and Min's variance, with t's quantile for normal's, never beyond what shares can differ by."""
    count = won + lost + equal
    one, other = (
        np.repeat([1.0, 0.0, 1.0], [won, lost, equal]),
        np.repeat([0.0, 1.0, 1.0], [won, lost, equal]),
    )
    share = (won - lost) / count
    error = math.sqrt(won + lost + 1 - count * share**2) / (count + 2)
    reach = stats.t.isf(0.025, count - 1) * error
    found = two_level_difference([one], [other])
    assert found.estimate == pytest.approx(share)
    exact = stats.binom(won + lost, 0.5)
    signs = min(1.0, 2 * (exact.cdf(min(won, lost)) - 0.5 * exact.pmf(min(won, lost))))
    p_value = max(2 * stats.t.sf(abs(share) / error, count - 1), signs)
    assert found.p_value == pytest.approx(p_value, rel=1e-6)
    low, high = max(share - reach, -1.0), min(share + reach, 1.0)
    if p_value >= 0.05:
        low, high = min(low, 0.0), max(high, 0.0)
    assert (found.low, found.high) == pytest.approx((low, high))


@pytest.mark.parametrize("discordant", [0.1, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("examples", [5, 8, 10, 15, 20])
def test_one_seed_on_a_handful_of_examples_tells_equals_apart_in_few_cases(
    examples: int, discordant: float
) -> None:
    """Of all ways in which two equal models may answer; with t alone it was up to 12 of 100."""
    found = 0.0
    for differing in range(examples + 1):
        chance = stats.binom.pmf(differing, examples, discordant)
        for won in range(differing + 1) if chance > 1e-6 else ():
            one, other = np.zeros((2, examples))
            one[:won], other[won:differing] = 1.0, 1.0
            if two_level_difference([one], [other]).p_value < 0.05:
                found += chance * stats.binom.pmf(won, differing, 0.5)
    assert found < 0.071


def test_several_seeds_on_five_examples_are_judged_by_signs_at_the_most() -> None:
    won, lost = [np.ones(5)] * 2, [np.zeros(5)] * 2
    found = two_level_difference(won, lost)
    assert found.p_value == 2 * 0.5**5
    assert (found.low, found.high) == (0.0, 1.0)


def test_difference_of_rights_on_several_seeds_adds_the_same_half_examples() -> None:
    rng = np.random.default_rng(4)
    ones, others = (rng.random((2, 3, 30)) < np.array([0.8, 0.6])[:, None, None]).astype(float)
    reach = reach_by_squares(ones - others, 0.025, added=1.0)
    found, gap = two_level_difference(list(ones), list(others)), (ones - others).mean()
    assert (found.low, found.high) == pytest.approx((gap - reach, min(gap + reach, 1.0)), rel=1e-9)
    half = two_level_difference(list(ones), list(others - 0.5))  # of no rights: nothing is added or cut off
    reach = reach_by_squares(ones - others, 0.025)
    assert (half.low, half.high) == pytest.approx((gap + 0.5 - reach, gap + 0.5 + reach), rel=1e-9)
    assert half.high > 1


@pytest.mark.parametrize("seeds", [2, 3, 6])
def test_interval_of_several_seeds_rights_is_wilson_s_of_the_examples_that_they_amount_to(seeds: int) -> None:
    table = (np.random.default_rng(seeds).random((seeds, 45)) < 0.8).astype(float)
    table[:, :25] = 1.0  # easy ones
    share, normal = table.mean(), float(stats.norm.isf(0.025))
    worth = share * (1 - share) * (normal / reach_by_squares(table, 0.025)) ** 2
    assert 7 < worth < seeds * 45
    found = two_level_interval(list(table))
    assert (found.low, found.high) == pytest.approx(wilson_ends(share, worth), abs=1e-9)
    assert found.estimate == pytest.approx(share)


def wilson_ends(share: float, count: float) -> tuple[float, float]:
    """Where the share is the quantile's number of standard errors away, by search."""
    normal = float(stats.norm.isf(0.025))

    def beyond(end: float) -> float:
        return float(abs(share - end) - normal * math.sqrt(end * (1 - end) / count))

    return optimize.brentq(beyond, 1e-9, share), optimize.brentq(beyond, share, 1 - 1e-12)


def test_rights_of_seeds_that_make_up_for_each_other_count_once_each_and_no_more() -> None:
    """The examples' means hardly vary: by their variance alone there would be thousands of examples."""
    table = np.zeros((2, 100))
    table[0, :50] = table[1, 49:] = 1.0
    found = two_level_interval(list(table))
    assert (found.low, found.high) == pytest.approx(wilson_ends(table.mean(), 200), abs=1e-9)
    table[1, 49] = 0.0  # not at all, so there is nothing to go by but the number of examples
    found = two_level_interval(list(table))
    assert (found.low, found.high) == pytest.approx(wilson_ends(0.5, 100), abs=1e-9)


def test_scores_whose_levels_cancel_out_still_have_an_interval() -> None:
    found = two_level_interval([[0.2, 0.8], [0.8, 0.2]])
    assert (found.low, found.estimate, found.high) == (0.2, 0.5, 0.8)


def test_interval_stays_within_the_scores_that_were_seen_unless_all_are_the_same() -> None:
    found = two_level_interval([[0.1, 0.5, 0.9]])
    assert (found.low, found.high) == (0.1, 0.9)
    same = two_level_interval([[0.5, 0.5, 0.5]])
    assert (same.low, same.high) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("count", "share"), [(5, 1.0), (6, 1 - 0.025 ** (1 / 6)), (40, 1 - 0.025 ** (1 / 40))]
)
@pytest.mark.parametrize("value", [0.3, -0.7])
def test_difference_that_all_examples_have_is_judged_by_signs(count: int, share: float, value: float) -> None:
    """Five may all be of one sign by chance, one time in sixteen; six no more at this level."""
    found = two_level_difference([[1.0 + value] * count], [[1.0] * count])
    reach = share * abs(value)
    assert (found.low, found.high) == pytest.approx((value - reach, value + reach))
    assert found.p_value == pytest.approx(max(2 * 0.5**count, 1e-4))
    level = two_level_difference([[1.5] * 5], [[1.0] * 5], confidence=1 - 2 * 0.5**5)
    assert (level.low, level.high) == (0.0, 1.0)  # at that very level it cannot be told from none
    rounded = two_level_difference([[1e9, 1e9 + 1e-5] * 3], [[0.0] * 6])
    assert (rounded.p_value, rounded.high - rounded.estimate > 1e8) == (2 * 0.5**6, True)
    none = two_level_difference([[0.9] * count], [[0.9] * count])
    unseen = 0.9 * unseen_share(count, 0.025)
    assert (none.low, none.high, none.p_value) == pytest.approx((-unseen, unseen, 1.0))


@pytest.mark.parametrize("confidence", [0.9, 0.95])
@pytest.mark.parametrize("values", [[0.7, 0.9], [0.81, 0.8, 0.84], [-0.2, 0.1, 0.3, 0.15]])
def test_interval_over_seeds_is_student_s(values: list[float], confidence: float) -> None:
    found, wanted = interval_over_seeds(values, confidence=confidence), stats.ttest_1samp(values, 0.0)
    ends = wanted.confidence_interval(confidence)
    assert found is not None
    assert found.estimate == pytest.approx(np.mean(values))
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high))
    assert (found.p_value, found.confidence) == (pytest.approx(wanted.pvalue), confidence)


@pytest.mark.parametrize("values", [[], [0.9], [0.1, 0.1], [1e9, 1e9 + 1e-5]])
def test_interval_over_seeds_is_not_known_of_fewer_than_two_different_values(values: list[float]) -> None:
    assert interval_over_seeds(values) is None


def test_copies_are_never_counted_as_more_than_the_examples_that_there_are() -> None:
    scores = made_scores(2, 8, 0.1, 0.2)
    found = two_level_interval(list(scores), different=1_000)
    assert found == two_level_interval(list(scores))
    apart = two_level_difference(list(scores), list(scores[:, ::-1]), different=1_000)
    assert apart == two_level_difference(list(scores), list(scores[:, ::-1]))


@pytest.mark.parametrize(("examples", "tail"), [(1, 0.025), (10, 0.025), (300, 0.1)])
def test_share_of_unseen_examples_is_missed_in_the_tail_of_cases(examples: int, tail: float) -> None:
    share = unseen_share(examples, tail)
    assert (1 - share) ** examples == pytest.approx(tail)
    low, high = interval_of_unseen(0.2, examples, tail)
    assert (low, high) == pytest.approx((max(0.2 - share, -1.0), min(0.2 + share, 1.0)))
    low, high = interval_of_unseen(-3.0, examples, tail)  # of a metric that has no such bounds
    assert (low, high) == pytest.approx((-3.0, min(-3.0 + 3 * share, 3.0)))


@pytest.mark.parametrize(
    ("drawn", "same"),
    [
        ([0.5, 0.5 + 1e-13], True),
        ([0.5, 0.5 + 1e-11], False),
        ([1e6, 1e6 + 1e-7], True),
        ([-1.0, 1.0], False),
    ],
)
def test_resamples_that_differ_by_rounding_alone_say_the_same(drawn: list[float], same: bool) -> None:
    assert has_no_spread(np.array(drawn)) is same


@pytest.mark.parametrize("seeds", [1, 2, 5])
@pytest.mark.parametrize(
    "scores", [np.linspace(-1.0, 0.0, 40), np.full(40, -0.25), np.zeros(40), np.ones(40)]
)
def test_identical_models_have_no_difference_of_which_anything_is_certain(
    scores: np.ndarray, seeds: int
) -> None:
    """Errors as well as rights; a single value of both is no certainty either."""
    found = two_level_difference([scores] * seeds, [scores] * seeds)
    assert (found.estimate, found.p_value) == (0.0, 1.0)
    assert found.low < -0.001
    assert found.high > 0.001
    gate = paired_bootstrap(scores, scores, resamples=500)
    assert gate.low < -0.001
    assert gate.high > 0.001
    assert gate.p_value == 1.0


@pytest.mark.parametrize("share", [0.0, 1.0])
@pytest.mark.parametrize("examples", [1, 5, 40, 57, 2_000])
def test_interval_of_all_right_or_all_wrong_holds_its_estimate(share: float, examples: int) -> None:
    found = two_level_interval([np.full(examples, share)] * 3)
    assert found.low <= found.estimate <= found.high
    assert found.low < found.high


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused_by_name_and_say_nothing_over_seeds(wrong: float) -> None:
    scores = np.array([0.5, wrong, 0.25])
    for asked in (
        lambda: two_level_interval([scores]),
        lambda: two_level_difference([scores], [np.zeros(3)]),
        lambda: paired_bootstrap(np.zeros(3), scores),
    ):
        with pytest.raises(ValueError, match="scores must be finite"):
            asked()
    assert interval_over_seeds(scores) is None
