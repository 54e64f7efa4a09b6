"""The statistics behind confirm, compare and promote: against scipy, by hand, and by simulation."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from scipy import optimize, stats

from flows.statistics import (
    Interval,
    RankingEntry,
    bootstrap_of_metric,
    compare_f1,
    difference_p_value,
    examples_needed,
    f1_values,
    holm,
    interval_over_seeds,
    mcnemar,
    paired_bootstrap,
    two_level_difference,
    two_level_interval,
)


def test_paired_bootstrap_agrees_with_the_t_test_on_normal_differences() -> None:
    rng = np.random.default_rng(1)
    champion = rng.normal(size=400)
    challenger = champion + rng.normal(0.1, 1.0, size=400)
    found = paired_bootstrap(challenger, champion)
    expected = stats.ttest_rel(challenger, champion, alternative="greater")
    both = stats.ttest_rel(challenger, champion).confidence_interval(0.95)
    assert found.difference == pytest.approx((challenger - champion).mean())
    assert found.p_value == pytest.approx(expected.pvalue, abs=0.01)
    assert (found.low, found.high) == pytest.approx((both.low, both.high), abs=0.01)
    assert found.won + found.lost == found.examples == 400


def test_paired_bootstrap_keeps_its_level_on_skewed_differences() -> None:
    """No true difference, lognormal ones seen; a one-sided t-test is wrong 10 times in 100 here."""
    rng = np.random.default_rng(2)
    nothing = np.zeros(60)
    moves = sum(
        paired_bootstrap(math.exp(0.5) - rng.lognormal(size=60), nothing, resamples=400, seed=i).better
        for i in range(300)
    )
    assert 3 <= moves <= 27  # 15 expected, with a deviation of 3.8


def test_paired_bootstrap_tests_against_the_margin() -> None:
    rng = np.random.default_rng(3)
    champion = rng.normal(size=500)
    challenger = champion + rng.normal(0.2, 0.5, size=500)
    assert paired_bootstrap(challenger, champion).better
    assert paired_bootstrap(challenger, champion, margin=0.1).better
    assert not paired_bootstrap(challenger, champion, margin=0.25).better


def test_paired_bootstrap_of_equal_differences_depends_on_count() -> None:
    assert paired_bootstrap([1, 1, 1], [0, 0, 0]).p_value == pytest.approx(1 / 8)
    assert paired_bootstrap([0.5] * 40, [0.5] * 40).p_value == 1.0


def test_paired_bootstrap_same_seed_gives_same_interval() -> None:
    rng = np.random.default_rng(4)
    one, other = rng.normal(size=50), rng.normal(size=50)
    assert paired_bootstrap(one, other, seed=7) == paired_bootstrap(one, other, seed=7)


def test_paired_bootstrap_grouping_equal_scores_changes_nothing() -> None:
    """Right-or-wrong scores are drawn by frequency; jittered ones singly; the intervals agree."""
    rng = np.random.default_rng(5)
    one, other = (rng.random(800) < 0.8).astype(float), (rng.random(800) < 0.75).astype(float)
    grouped = paired_bootstrap(one, other)
    single = paired_bootstrap(one + rng.normal(0, 1e-7, 800), other)
    assert (grouped.low, grouped.high) == pytest.approx((single.low, single.high), abs=0.004)


@pytest.mark.parametrize(("won", "lost"), [(9, 2), (2, 9), (0, 0), (5, 5), (30, 12)])
def test_mid_p_equals_exact_tail_less_half_the_point(won: int, lost: int) -> None:
    challenger = [1] * won + [0] * lost + [1] * 50
    champion = [0] * won + [1] * lost + [1] * 50
    found = mcnemar(challenger, champion)
    exact = stats.binomtest(won, max(won + lost, 1), 0.5, alternative="greater").pvalue if won + lost else 1.0
    point = math.comb(won + lost, won) / 2 ** (won + lost)
    assert found.p_value == pytest.approx(exact - point / 2)
    assert found.low <= found.difference <= found.high


def test_tango_s_interval_ends_where_the_score_statistic_is_critical() -> None:
    """12 won, 2 lost of 44; the statistic by a search for the constrained likelihood's maximum."""
    rights = [1] * 12 + [0] * 2 + [1] * 30
    others = [0] * 12 + [1] * 2 + [1] * 30
    found = mcnemar(rights, others)
    for end, z in ((found.low, 1.959964), (found.high, -1.959964)):
        assert _score_by_search(12, 2, 44, end) == pytest.approx(z, abs=1e-3)


def _score_by_search(won: int, lost: int, count: int, margin: float) -> float:
    """The score statistic with the constrained maximum likelihood found by brute force."""
    q = np.linspace(max(0.0, -margin) + 1e-9, (1 - margin) / 2 - 1e-9, 2_000_001)
    likelihood = (
        won * np.log(q + margin) + lost * np.log(q) + (count - won - lost) * np.log(1 - 2 * q - margin)
    )
    best = q[np.argmax(likelihood)]
    return float((won - lost - count * margin) / math.sqrt(count * (2 * best + margin * (1 - margin))))


def test_mcnemar_tests_against_the_margin() -> None:
    rng = np.random.default_rng(6)
    champion = rng.random(2000) < 0.80
    challenger = champion | (rng.random(2000) < 0.2)
    found = mcnemar(challenger, champion, margin=0.02)
    assert found.better
    assert found.low > 0.02
    assert not mcnemar(challenger, champion, margin=found.difference + 0.01).better


def test_mcnemar_keeps_its_level_and_finds_three_points() -> None:
    rng = np.random.default_rng(7)
    false = sum(mcnemar(*_pair(rng, 0.0)).better for _ in range(400))
    true = sum(mcnemar(*_pair(rng, 0.03)).better for _ in range(400))
    assert false <= 34  # 20 expected
    assert true >= 320


def _pair(rng: np.random.Generator, gain: float) -> tuple[np.ndarray, np.ndarray]:
    """Two accuracies near 0.9 on 2,000 examples that differ on 10 % of them."""
    draw = rng.random(2000)
    won, lost = draw < 0.05 + gain / 2, draw > 0.95 + gain / 2
    agreed = rng.random(2000) < 0.92
    return won | (agreed & ~lost), lost | (agreed & ~won)


def test_needed_examples_reach_the_promised_power() -> None:
    count = examples_needed(difference=0.03, discordance=0.1)
    assert count is not None
    assert 600 < count < 800  # Connor: 686 by hand with z = 1.6449, 0.8416
    rng = np.random.default_rng(8)
    found = 0
    for _ in range(400):
        draw = rng.random(count)
        found += mcnemar(draw < 0.065, draw > 0.965, confidence=0.9).better
    assert 0.73 <= found / 400 <= 0.87
    assert examples_needed(difference=0.01, discordance=0.1, margin=0.02) is None
    assert examples_needed(difference=0.5, deviation=1.0) == math.ceil((1.644854 + 0.841621) ** 2 / 0.25)
    with pytest.raises(ValueError, match="one of"):
        examples_needed(difference=0.1)


@pytest.mark.parametrize(("seeds", "of_seed", "of_example"), [(5, 0.1, 1.0), (3, 1.0, 0.1)])
def test_two_level_interval_covers_truth_whichever_level_varies(
    seeds: int, of_seed: float, of_example: float
) -> None:
    """Truth 0: 95 % intervals cover it at least nine times in ten, whichever level counts more."""
    rng = np.random.default_rng(9)
    covered = 0
    for _ in range(200):
        scores = (
            rng.normal(0, of_seed, size=(seeds, 1))
            + rng.normal(0, of_example, size=(1, 200))
            + rng.normal(0, of_example, size=(seeds, 200))
        )
        found = two_level_interval(list(scores))
        covered += found.low <= 0 <= found.high
    assert covered >= 180


def _interval_of(scores: np.ndarray, different: int | None = None) -> Interval:
    return two_level_interval(list(scores), different=different)


def _difference_of(scores: np.ndarray, different: int | None = None) -> Interval:
    return two_level_difference(list(scores), list(scores[:, ::-1]), different=different)


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("kind", ["right or wrong", "errors", "all the same"])
@pytest.mark.parametrize("found", [_interval_of, _difference_of])
def test_interval_over_copies_is_that_over_the_different_examples(
    found: Callable[..., Interval], kind: str, seeds: int
) -> None:
    scores = np.random.default_rng(5).random((seeds, 40))
    scores = {"right or wrong": (scores < 0.7).astype(float), "errors": scores}.get(
        kind, np.full_like(scores, 0.5)
    )
    copies = np.repeat(scores, 6, axis=1)
    once, counted, blind = found(scores), found(copies, different=40), found(copies)
    assert (counted.low, counted.high) == pytest.approx((once.low, once.high), rel=1e-9)
    assert (counted.p_value or 0.0) == pytest.approx(once.p_value or 0.0, rel=1e-6)
    if kind != "all the same":  # the seeds' own spread stays
        assert blind.high - blind.low < (0.9 if seeds == 1 else 1.0) * (once.high - once.low)


def test_two_level_interval_is_wider_than_either_level_alone() -> None:
    rng = np.random.default_rng(10)
    scores = (rng.random((5, 300)) < np.array([[0.7], [0.8], [0.75], [0.72], [0.78]])).astype(float)
    both = two_level_interval(list(scores))
    examples = two_level_interval([scores.mean(axis=0)])
    assert both.high - both.low > examples.high - examples.low
    assert both.low < both.estimate < both.high


def test_statistics_refuse_bad_scores() -> None:
    with pytest.raises(ValueError, match="same examples"):
        two_level_interval([[1, 2], [1]])
    with pytest.raises(ValueError, match="at least one"):
        two_level_interval([])
    with pytest.raises(ValueError, match="same examples"):
        paired_bootstrap([1, 2], [1])
    with pytest.raises(ValueError, match="finite"):
        paired_bootstrap([1, math.nan], [1, 1])
    with pytest.raises(ValueError, match="right"):
        mcnemar([0.3, 1], [1, 1])


def test_holm_equals_the_steps_by_hand() -> None:
    """Holm's own steps: 0.01 · 4, 0.02 · 3, 0.03 · 2 → 0.06 by the running maximum, 0.04 · 1 → 0.06."""
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []
    assert holm([0.01, None, 0.04]) == [0.02, None, 0.04]  # a test that was not made counts for none


def test_entries_with_same_seeds_are_compared_in_pairs() -> None:
    seeds = (1, 2, 3, 4)
    best = RankingEntry(values=(0.90, 0.80, 0.85, 0.70), seeds=seeds)
    near = RankingEntry(values=(0.89, 0.805, 0.845, 0.695), seeds=seeds)
    far = RankingEntry(values=(0.86, 0.76, 0.81, 0.66), seeds=seeds)
    assert (difference_p_value(best, near) or 0.0) > 0.05
    other_seeds = RankingEntry(values=far.values, seeds=(5, 6, 7, 8))
    assert difference_p_value(best, far) == pytest.approx(2 / 2**4)  # the same on each seed: a sign test
    p = difference_p_value(best, other_seeds)
    assert p == pytest.approx(stats.ttest_ind(best.values, far.values, equal_var=False).pvalue)


def test_entries_of_single_values_need_standard_errors() -> None:
    one, other = (
        RankingEntry(values=(0.9,), standard_error=0.02),
        RankingEntry(values=(0.8,), standard_error=0.02),
    )
    assert difference_p_value(one, other) == pytest.approx(2 * stats.norm.sf(0.1 / (0.02 * 2**0.5)))
    assert difference_p_value(one, RankingEntry(values=(0.1,))) is None


def test_intervals_of_few_examples_never_claim_certainty() -> None:
    right, wrong = [1.0] * 12, [0.0] * 12
    for scores in ([right], [right, right], [wrong] * 3):
        found = two_level_interval(scores)
        assert 0.05 < found.high - found.low < 0.6
    apart = two_level_difference([[0.9] * 4], [[0.7] * 4])
    assert apart.low <= 0 < apart.high
    assert (apart.p_value or 0.0) > 0.05
    same = two_level_difference([right], [right])
    assert (same.low < 0 < same.high, same.p_value) == (True, 1.0)
    far = two_level_difference([right, wrong], [wrong, wrong])
    assert (far.low, far.high) == (-1.0, 1.0)
    assert interval_over_seeds([0.9, 0.9, 0.9]) is None
    for count in (3, 40):
        flat = paired_bootstrap([0.5] * count, [0.2] * count)
        assert flat.low < flat.difference < flat.high
        assert flat.better == (count == 40)
        assert flat.p_value > 0
    named = np.arange(12) < 6
    for other in (named, ~named):
        f1 = compare_f1(named, named, other)
        assert f1.low < f1.high
    assert (
        paired_bootstrap([1.0] * 9, [1.0] * 9).low < 0
    )  # all right by both: of those not seen nothing is known
    assert mcnemar([1] * 5, [1] * 5).low < 0 < mcnemar([1] * 5, [1] * 5).high


@pytest.mark.parametrize(("won", "lost"), [(4, 0), (5, 0), (6, 0), (7, 1), (12, 3), (0, 4), (3, 12)])
@pytest.mark.parametrize("margin", [-0.02, 0.0, 0.01])
def test_mcnemar_p_value_and_interval_never_disagree(won: int, lost: int, margin: float) -> None:
    """Four won of 189 and none lost: Tango's interval alone begins above 0, the exact test's p is 0.03."""
    found = mcnemar(
        [1] * won + [0] * lost + [1] * (189 - won - lost), [0] * won + [1] * (189 - won), margin=margin
    )
    assert found.better == (found.low > margin) == (found.p_value < 0.025)


def test_f1_of_a_class_is_judged_by_its_interval() -> None:
    """A champion that names nearly everything `up` has recall 1 there, and is no better for it."""
    up = np.arange(100) < 71
    always, skilled = np.ones(100, np.bool_), np.where(np.arange(100) % 14 == 0, ~up, up)
    fall = compare_f1(up, always, skilled, confidence=0.9)
    assert f1_values(up, always, skilled) == pytest.approx((2 * 71 / 171, 2 * 65 / (71 + 67)), abs=0.02)
    assert fall.difference < 0
    assert fall.high < 0
    few = np.arange(12) < 6
    chance = compare_f1(few, few, few & (np.arange(12) != 0), confidence=0.9)
    assert chance.low <= 0 < chance.difference
    assert chance.p_value > 0.05


def test_f1_comparison_counts_whose_answers_were_right_alone() -> None:
    """Of the class the one twice and the other once; not of it the one once and the other twice."""
    named = np.array([1, 1, 1, 1, 0, 0, 0, 0], np.bool_)
    one = np.array([1, 1, 0, 1, 0, 1, 1, 0], np.bool_)
    other = np.array([0, 0, 1, 1, 1, 0, 0, 0], np.bool_)
    assert (compare_f1(named, one, other).won, compare_f1(named, one, other).lost) == (3, 3)
    assert (compare_f1(named, named, other).won, compare_f1(named, named, other).lost) == (3, 0)
    assert (compare_f1(named, other, named).won, compare_f1(named, other, named).lost) == (0, 3)
    same = compare_f1(named, one, one)
    assert (same.difference, same.won, same.lost) == (0.0, 0, 0)


def test_f1_comparison_keeps_its_level() -> None:
    """Two models equally good at a class of 20 and one of 200: told apart in at most 6 of 100, one-sided."""
    rng = np.random.default_rng(11)
    for count in (40, 400):
        real = 0
        for index in range(400):
            named = rng.random(count) < 0.5
            one, other = (np.where(rng.random(count) < 0.85, named, ~named) for _ in range(2))
            real += compare_f1(named, one, other, confidence=0.9, seed=index).low > 0
        assert real <= 30  # 20 expected


@pytest.mark.parametrize(
    ("spread", "deviation"),
    [
        pytest.param(0.0, 0.0, id="alike"),
        pytest.param(0.5, 0.0, id="easy-and-hard", marks=pytest.mark.long),
        pytest.param(0.0, 0.03, id="seeds-differ", marks=pytest.mark.long),
        pytest.param(0.5, 0.01, id="both"),
    ],
)
def test_levels_and_coverage_hold_on_few_seeds_and_examples(spread: float, deviation: float) -> None:
    """Intervals of accuracies cover the truth in 94 of 100 at least, and equal models are told apart in 6 of
    100 at most: by their examples, and by their values on the seeds alone. So for each number of seeds."""
    rng = np.random.default_rng(12)
    missed, apart, ranked, total = (Counter[int]() for _ in range(4))
    for accuracy, examples, seeds in itertools.product((0.5, 0.9, 0.98), (36, 180, 2_000), (2, 3, 5)):
        for _ in range(80):
            one, other = _two_equal(rng, seeds, examples, accuracy, spread, deviation)
            found = two_level_interval(list(one))
            missed[seeds] += not found.low <= accuracy <= found.high
            apart[seeds] += (two_level_difference(list(one), list(other)).p_value or 0.0) < 0.05
            entries = [
                RankingEntry(values=tuple(t.mean(axis=1)), seeds=tuple(range(seeds))) for t in (one, other)
            ]
            ranked[seeds] += (difference_p_value(*entries) or 0.0) < 0.05
            total[seeds] += 1
    for seeds, count in total.items():
        most = 0.06 * count
        assert max(missed[seeds], apart[seeds], ranked[seeds]) <= most, (seeds, missed, apart, ranked)


def _two_equal(
    rng: np.random.Generator, seeds: int, examples: int, accuracy: float, spread: float, deviation: float
) -> tuple[np.ndarray, np.ndarray]:
    """Right and wrong of two equal configurations by seed; examples are alike, or easy and hard.

    Args:
        deviation: how far the seeds' own accuracies lie from that of the configuration, at most by a third of
            what there is to its nearer end.
    """
    chance = np.full(examples, accuracy)
    if spread:
        chance = rng.beta(accuracy * spread, (1 - accuracy) * spread, size=examples)
    moved = rng.normal(0, min(deviation, (1 - accuracy) / 3), size=(2, seeds, 1)).clip(
        accuracy - 1, 1 - accuracy
    )
    by_seed = np.where(
        moved > 0, chance + (1 - chance) * moved / (1 - accuracy), chance * (1 + moved / accuracy)
    )
    one, other = (rng.random((2, seeds, examples)) < by_seed).astype(float)
    return one, other


def test_interval_over_examples_alone_is_students() -> None:
    """To the last digit: with one fewer degree of freedom than there are examples."""
    scores = np.random.default_rng(13).normal(0.5, 0.1, size=12)
    found, wanted = two_level_interval([scores]), stats.ttest_1samp(scores, 0.0)
    ends = wanted.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high), rel=1e-9)
    assert found.p_value == pytest.approx(wanted.pvalue, rel=1e-6)


def test_interval_of_a_resampled_metric_leaves_half_of_its_level_on_each_side() -> None:
    drawn = np.arange(1.0, 2_002.0)
    found = bootstrap_of_metric(1_001.0, drawn, examples=50, differing=50, margin=0.0, confidence=0.95)
    assert (found.low, found.high) == pytest.approx((51.0, 1_951.0))


@pytest.mark.parametrize(("right", "examples"), [(44, 50), (3, 36), (990, 1000)])
def test_interval_of_one_seed_s_share_is_wilson_s_with_the_examples_that_t_leaves(
    right: int, examples: int
) -> None:
    """Its ends are where the share is the quantile's number of standard errors away, found by search."""
    table = np.zeros(examples)
    table[:right] = 1.0
    found = two_level_interval([table])
    share, normal = right / examples, float(stats.norm.isf(0.025))
    worth = (examples - 1) * (normal / float(stats.t.isf(0.025, examples - 1))) ** 2

    def beyond(end: float) -> float:
        return float(abs(share - end) - normal * math.sqrt(end * (1 - end) / worth))

    low, high = optimize.brentq(beyond, 1e-9, share), optimize.brentq(beyond, share, 1 - 1e-12)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-9)
