"""Ranking and snapshots: pure functions of the ledger's rows."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.ledger.ranking import best_trial, mark_undominated, pareto_front, rank_trials
from infra.ledger.snapshot import make_snapshot
from infra.spec import Objective
from tests.flows.ledger_sweeps import ACCURACY, LATENCY, TRIALS, spec_of, trial_of

LOSS = Objective(metric="val/loss", direction="minimize")


def rows():
    return [trial_of(f, n, s, v, **m) for f, n, s, v, m in TRIALS]


def test_best_trial_is_complete_and_follows_the_direction():
    assert best_trial(rows(), (ACCURACY,)).number == 1
    assert best_trial(rows(), (LOSS,)).value == 0.91  # the pruned 0.31 and the running 0.5 do not count
    assert best_trial([trial_of("a", 0, "pruned", 0.5)], (ACCURACY,)) is None


def test_best_of_equal_trials_is_the_first():
    equal = [trial_of("a", number, "complete", 0.5) for number in range(3)]
    assert best_trial(equal, (ACCURACY,)).number == 0


def test_best_trial_is_never_a_non_finite_one():
    odd = [trial_of("a", 0, "complete", math.inf), trial_of("a", 1, "complete", math.nan)]
    assert best_trial([*odd, trial_of("a", 2, "complete", 0.1)], (ACCURACY,)).number == 2


def test_front_keeps_undominated_trials():
    values = [(0.9, 1.2), (0.8, 0.3), (0.7, 0.5), (0.9, 1.3)]
    trials = [trial_of("a", n, "complete", objective=list(pair)) for n, pair in enumerate(values)]
    assert [trial.number for trial in pareto_front(trials, (ACCURACY, LATENCY))] == [0, 1]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_front_dominates_every_point_off_it(points):
    kept = [point for point, keep in zip(points, mark_undominated(points), strict=True) if keep]
    assert kept
    for point in points:
        beaten = any(a <= point[0] and b <= point[1] and (a, b) != point for a, b in kept)
        assert beaten != (point in kept)


def test_a_snapshot_counts_states_by_family_in_file_order():
    snapshot = make_snapshot(spec_of(), rows(), state="running", now=130.0, started_at=100.0, lanes_up=2)
    text, image = snapshot.families
    assert (text.family, text.complete, text.failed, text.total) == ("text_cnn", 1, 1, 4)
    assert (image.complete, image.pruned, image.running, image.ended_count) == (2, 1, 1, 3)
    assert image.best.values == (0.985,)
    assert snapshot.trial_count == 8
    assert snapshot.elapsed_s == 30.0


def test_time_left_uses_the_pace_of_this_run_alone():
    before = [trial_of("text_cnn", n, "complete", 0.5, ended_at=50.0) for n in range(4)]
    now = [trial_of("image_cnn", n, "complete", 0.5, ended_at=120.0, seconds=10.0) for n in range(2)]
    snapshot = make_snapshot(spec_of(), before + now, state="running", now=140.0, started_at=100.0)
    assert snapshot.eta_s == pytest.approx(30.0)  # two in the 30 s since lanes were up, two left
    assert make_snapshot(spec_of(), before, state="running", now=140.0, started_at=100.0).eta_s is None


def test_snapshot_leaves_confirmations_out_of_the_search():
    confirmations = [trial_of("image_cnn", 0, "complete", 0.5)]
    confirmations[0].role = "confirm"
    snapshot = make_snapshot(spec_of(), confirmations, state="running", now=1.0, started_at=0.0)
    assert snapshot.ended_count == 0
    snapshot = make_snapshot(
        spec_of(), confirmations, state="running", now=1.0, started_at=0.0, role="confirm"
    )
    assert [(family.family, family.ended_count, family.total) for family in snapshot.families] == [
        ("image_cnn", 1, 1)
    ]


def test_ranked_trials_are_best_first():
    assert [trial.value for trial in rank_trials(rows(), (ACCURACY,))] == [0.985, 0.97, 0.91]
