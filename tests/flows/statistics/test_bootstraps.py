"""Bootstraps: against every resample that there is, and their edges by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from flows.statistics import PairedComparison, bootstrap, bootstrap_of_metric, paired_bootstrap
from flows.statistics.two_levels import unseen_share

Weighted = tuple[np.ndarray, np.ndarray]  # Student's ratios of all resamples, and how likely each is


def ratios_of(samples: np.ndarray, mean: float) -> np.ndarray:
    """(mean* − mean) / error* of each row; without spread ±inf, or 0 at the mean."""
    count, shifts = samples.shape[1], samples.mean(axis=1) - mean
    errors = samples.std(axis=1, ddof=1) / math.sqrt(count)
    flat = np.ptp(samples, axis=1) == 0
    sides = np.where(np.abs(shifts) < 1e-12, 0.0, np.copysign(np.inf, shifts))
    return np.where(flat, sides, shifts / np.where(flat, 1.0, errors))


def all_resamples(differences: np.ndarray) -> Weighted:
    samples = np.array(list(itertools.product(differences, repeat=len(differences))))
    return ratios_of(samples, differences.mean()), np.full(len(samples), 1 / len(samples))


def all_counts(differences: np.ndarray) -> Weighted:
    """Of differences of two kinds: by how often the first is drawn."""
    first, second = np.unique(differences)
    count, share = len(differences), float((differences == first).mean())
    samples = np.array([[first] * k + [second] * (count - k) for k in range(count + 1)])
    weights = [math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(count + 1)]
    return ratios_of(samples, differences.mean()), np.array(weights)


SINGLY = np.array([-1.0, 0.3, 0.5, 1.1, 2.0, 2.2])
FEW = np.array([-0.4, 0.1, 0.9])
GROUPED = np.repeat([-1.0, 2.0], [7, 13])


@pytest.mark.parametrize("margin", [-0.6, 0.0, 0.25])
@pytest.mark.parametrize(
    ("differences", "resamples"),
    [(SINGLY, all_resamples(SINGLY)), (FEW, all_resamples(FEW)), (GROUPED, all_counts(GROUPED))],
    ids=["singly", "few", "grouped"],
)
def test_bootstrap_draws_as_all_resamples_have_it(
    differences: np.ndarray, resamples: Weighted, margin: float
) -> None:
    """p-value and quartiles: of 20,000 draws a share is off by 0.012 in four deviations of its chance."""
    ratios, weights = resamples
    error = differences.std(ddof=1) / math.sqrt(len(differences))
    found = paired_bootstrap(
        differences, 0 * differences, margin=margin, confidence=0.5, resamples=20_000, seed=3
    )
    p_value = float(weights[ratios >= (differences.mean() - margin) / error - 1e-9].sum())
    assert found.p_value == pytest.approx(p_value if p_value < 0.25 else max(p_value, 0.25), abs=0.013)
    assert differences.min() < found.low < found.high < differences.max() or len(differences) == 3
    for end, level in ((found.low, 0.75), (found.high, 0.25)):
        if end not in (differences.min(), differences.max()):
            ratio = (differences.mean() - end) / error
            below, upto = weights[ratios < ratio - 1e-9].sum(), weights[ratios <= ratio + 1e-9].sum()
            assert below - 0.013 <= level <= upto + 0.013
    assert found.difference == pytest.approx(differences.mean())
    assert found.deviation == pytest.approx(differences.std(ddof=1))
    assert (found.won, found.lost) == ((differences > 0).sum(), (differences < 0).sum())
    assert (found.examples, found.margin, found.confidence) == (len(differences), margin, 0.5)


def test_bootstrap_counts_a_resample_that_says_as_much_against_the_challenger() -> None:
    """Ten of twenty won: the likeliest resample has no difference, as the examples have none."""
    differences = np.repeat([-1.0, 1.0], 10)
    found = paired_bootstrap(differences, 0 * differences, resamples=20_000)
    equal = math.comb(20, 10) / 2**20
    assert found.p_value == pytest.approx(0.5 + equal / 2, abs=0.015)


def test_bootstrap_of_scores_drawn_in_portions_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = paired_bootstrap(GROUPED, 0 * GROUPED, resamples=500)
    monkeypatch.setattr(bootstrap, "_CHUNK", 30)
    assert paired_bootstrap(GROUPED, 0 * GROUPED, resamples=500) == whole


@pytest.mark.parametrize("unit", [1e-7, 1e7])
@pytest.mark.parametrize("differences", [SINGLY, GROUPED], ids=["singly", "grouped"])
def test_bootstrap_says_the_same_in_any_unit(differences: np.ndarray, unit: float) -> None:
    plain, other = (paired_bootstrap(differences * by, 0 * differences, resamples=500) for by in (1.0, unit))
    assert (other.low, other.high) == pytest.approx((plain.low * unit, plain.high * unit), rel=1e-6, abs=0.0)
    assert other.p_value == plain.p_value


@pytest.mark.parametrize("resamples", [99, 400])
def test_bootstrap_p_value_is_no_smaller_than_its_resamples_allow(resamples: int) -> None:
    rng = np.random.default_rng(1)
    found = paired_bootstrap(rng.normal(5, 1, 50), np.zeros(50), resamples=resamples)
    assert found.p_value == pytest.approx(1 / (resamples + 1))
    same = paired_bootstrap([0.5] * 20, [0.2] * 20, resamples=resamples)
    assert same.p_value == pytest.approx(max(0.5**20, 1 / (resamples + 1)))


@pytest.mark.parametrize("margin", [-0.1, 0.0, 0.1])
def test_bootstrap_p_value_and_interval_never_disagree(margin: float) -> None:
    rng = np.random.default_rng(2)
    for _ in range(40):
        found = paired_bootstrap(
            rng.normal(0.3 + margin, 1, 30), np.zeros(30), margin=margin, confidence=0.9, resamples=400
        )
        assert found.better == (found.low > margin) == (found.p_value < 0.05)


@pytest.mark.parametrize(
    ("count", "unseen"), [(5, 1.0), (6, 1 - 0.025 ** (1 / 6)), (40, 1 - 0.025 ** (1 / 40))]
)
@pytest.mark.parametrize(
    ("challenger", "champion", "reach"),
    [
        ([0.5, 0.5], [0.2, 0.2], 0.5),  # so far from 0 a score lies
        ([0.5, 0.5], [-0.7, -0.7], 1.2),  # so far apart the two are
        ([-2.0, 2.5], [-2.25, 2.25], 4.5),  # so far apart a model's own scores are
    ],
)
def test_bootstrap_of_equal_differences_reaches_as_far_as_scores_were_seen_to(
    count: int, unseen: float, challenger: list[float], champion: list[float], reach: float
) -> None:
    one, other = (np.resize(scores, count) for scores in (challenger, champion))
    found, gap = paired_bootstrap(one, other), challenger[0] - champion[0]
    assert (found.low, found.high) == pytest.approx((gap - reach * unseen, gap + reach * unseen))
    sign_p = max(0.5**count, 1 / 10_001)
    assert found.p_value == pytest.approx(sign_p if found.better else max(sign_p, 0.025))
    assert found.better == (found.low > 0) == (found.p_value < 0.025)
    assert found.deviation == pytest.approx(0.0)
    behind = paired_bootstrap(one, other, margin=gap)
    assert (behind.better, behind.p_value) == (False, 1.0)


def test_bootstrap_at_the_very_level_finds_nothing() -> None:
    found = paired_bootstrap([0.5] * 5, [0.2] * 5, confidence=1 - 2 * 0.5**5)
    assert (found.low, found.better) == (pytest.approx(0.3 - 0.5), False)
    clear = np.random.default_rng(1).normal(5, 1, 50)
    found = paired_bootstrap(clear, 0 * clear, resamples=31, confidence=1 - 2 / 32)
    assert (found.low, found.p_value, found.better) == (0.0, 1 / 32, False)
    rounded = paired_bootstrap([1e9, 1e9 + 1e-5] * 2, [0.0] * 4)
    assert rounded.p_value == 0.5**4  # all the same but for rounding


def judge_drawn(drawn: np.ndarray, **changes: float) -> PairedComparison:
    given = {"examples": 50, "differing": 20, "margin": 0.0, "confidence": 0.95, **changes}
    return bootstrap_of_metric(0.4, drawn, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("below", "margin", "differing", "p_value", "better"),
    [
        (0, 0.0, 20, 1 / 1_000, True),
        (9, 0.0, 20, 10 / 1_000, True),
        (30, 0.0, 20, 31 / 1_000, False),
        (0, 0.0, 3, 0.5**3, False),  # a handful that all differ in one way proves nothing
        (0, 0.0, 7, 0.5**7, True),
        (0, -0.1, 3, 1 / 1_000, True),  # to be no worse is not what the swapping test asks
        (0, 0.1, 3, 0.5**3, False),
    ],
)
def test_resampled_metric_is_judged_by_its_resamples_and_by_how_many_answers_differ(
    below: int, margin: float, differing: int, p_value: float, better: bool
) -> None:
    """Of 999 resamples so many do not exceed the margin: they lie on it."""
    drawn = np.concatenate([np.full(below, margin), np.linspace(margin + 0.2, margin + 0.6, 999 - below)])
    found = judge_drawn(drawn, margin=margin, differing=differing)
    assert (found.better, found.p_value) == (better, pytest.approx(p_value))
    ends = np.quantile(drawn, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((ends[0] if better else margin, ends[1]))
    assert found.deviation == pytest.approx(drawn.std(ddof=1) * math.sqrt(50))
    assert (found.difference, found.examples, found.won, found.lost) == (0.4, 50, 0, 0)


def test_resampled_metric_at_the_very_level_is_not_better() -> None:
    found = judge_drawn(np.linspace(0.2, 0.6, 31), confidence=1 - 2 / 32)
    assert (found.better, found.low, found.p_value) == (False, 0.0, 1 / 32)
    lower = judge_drawn(np.linspace(-0.2, 0.6, 31))
    assert lower.low < -0.1  # what lies below the margin stays there


def test_resamples_that_all_say_the_same_leave_room_for_the_examples_not_seen() -> None:
    found = judge_drawn(np.full(999, 0.4))
    reach = unseen_share(50, 0.025)
    assert (found.low, found.high) == pytest.approx((0.4 - reach, 0.4 + reach))
    assert found.p_value == pytest.approx(1 / 1_000)


@pytest.mark.parametrize(
    ("differences", "ends", "p_value"),
    [
        ([-1.0] * 6 + [0.0] * 6 + [2.0] * 8, (-0.08721261298591088, 1.1325347424456633), 0.0481951804819518),
        ([-1.0] * 6 + [0.5] * 6 + [2.0] * 6, (-0.13031523644704746, 1.1303152364470475), 0.0565943405659434),
        (
            [-1.0] * 5 + [0.0] * 5 + [1.0] * 5 + [2.0] * 6,
            (0.03425928275681511, 1.0895461641374191), 0.0184981501849815,
        ),
    ],
)  # fmt: skip
def test_bootstrap_of_recorded_scores_is_drawn_again_to_the_last_digits(
    differences: list[float], ends: tuple[float, float], p_value: float
) -> None:
    """Written down once: `history --recompute` of later versions must find what is recorded.

    Three kinds of 18 and 20 examples are drawn by how often each comes, four of 21 example by example.
    """
    found = paired_bootstrap(differences, [0.0] * len(differences))
    assert (found.low, found.high) == pytest.approx(ends, rel=1e-9)
    assert found.p_value == pytest.approx(p_value, rel=1e-12)
    signs = np.sign(differences)
    assert (found.won, found.lost) == ((signs == 1).sum(), (signs == -1).sum())
