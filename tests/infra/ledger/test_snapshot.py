"""Ranking and snapshots: pure functions of the ledger's rows."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.ledger.ranking import (
    best_trial,
    finite_values,
    mark_undominated,
    model_size,
    pareto_front,
    rank_trials,
)
from infra.ledger.snapshot import FamilySnapshot, Snapshot, make_snapshot
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


def test_snapshot_counts_nothing_that_it_is_not_told_of():
    nothing = FamilySnapshot(family="text_cnn")
    counts = (nothing.waiting, nothing.running, nothing.complete, nothing.pruned, nothing.failed)
    assert (counts, nothing.total, nothing.ended_count) == ((0,) * 5, 0, 0)
    for empty in (
        Snapshot(sweep="digits", state="running", families=()),
        make_snapshot(spec_of(), [], state="running", now=100.0, started_at=100.0),
    ):
        assert (empty.lanes_up, empty.lanes_starting, empty.unsent, empty.message) == (0, 0, 0, "")
        assert (empty.ended_count, empty.running_count) == (0, 0)


def test_ended_trials_are_those_with_any_final_state():
    of_family = FamilySnapshot(family="text_cnn", waiting=10, running=20, complete=4, pruned=2, failed=1)
    assert of_family.ended_count == 7
    whole = Snapshot(sweep="digits", state="running", families=(of_family, of_family))
    assert (whole.ended_count, whole.running_count) == (14, 40)


def test_search_has_as_many_trials_as_there_are_to_be_or_are():
    more = [trial_of("text_cnn", number, "waiting") for number in range(5)]
    snapshot = make_snapshot(spec_of(trials=4), more, state="running", now=1.0, started_at=0.0)
    assert [(family.total, family.waiting) for family in snapshot.families] == [(5, 5), (4, 0)]


def eta_of(*ended, now=140.0, minutes=None, trials=2):
    """Of two families with so many trials each, after trials that took 10 s ended at these moments."""
    rows = [trial_of("text_cnn", n, "complete", 0.5, ended_at=at, seconds=10.0) for n, at in enumerate(ended)]
    spec = replace(spec_of(trials=trials), minutes=minutes)
    return make_snapshot(spec, rows, state="running", now=now, started_at=100.0).eta_s


@pytest.mark.parametrize(
    ("ended", "now", "minutes", "eta"),
    [
        ((), 140.0, None, None),
        ((100.0,), 140.0, None, 3 * 40.0),  # one that ended as the run began tells its pace
        ((99.0,), 140.0, None, None),
        ((100.0,), 100.0, None, None),  # no time has passed
        ((120.0,), 140.0, None, 3 * 30.0),  # lanes were up after ten seconds
        ((120.0, 140.0), 140.0, None, 2 * 15.0),
        ((120.0,), 140.0, 10.0, 3 * 30.0),
        ((120.0,), 140.0, 1.5, 50.0),  # the budget ends it before
        ((120.0,), 140.0, 0.5, 0.0),  # it is spent
    ],
)
def test_time_left_is_that_of_the_trials_left_at_this_pace_or_of_the_budget(ended, now, minutes, eta):
    assert eta_of(*ended, now=now, minutes=minutes) == (None if eta is None else pytest.approx(eta))


def test_last_trial_takes_time_and_none_left_takes_none():
    assert eta_of(120.0, trials=1) == pytest.approx(30.0)
    rows = [trial_of(name, 0, "complete", 0.5, ended_at=120.0) for name in ("text_cnn", "image_cnn")]
    assert make_snapshot(spec_of(trials=1), rows, state="running", now=140.0, started_at=100.0).eta_s == 0.0
    assert make_snapshot(spec_of(trials=1), rows, state="running", now=0.0, started_at=100.0).eta_s == 0.0


@pytest.mark.parametrize(
    ("objective", "goals", "values"),
    [
        ([0.5], (ACCURACY,), (0.5,)),
        ([0.5, 2.0], (ACCURACY, LATENCY), (0.5, 2.0)),
        ([0.5], (ACCURACY, LATENCY), None),
        ([0.5, 2.0], (ACCURACY,), None),
        ([0.5, math.nan], (ACCURACY, LATENCY), None),
        ([math.inf, 2.0], (ACCURACY, LATENCY), None),
        (None, (ACCURACY,), None),
    ],
)
def test_values_of_a_trial_are_one_finite_number_for_each_goal(objective, goals, values):
    assert finite_values(trial_of("a", 0, "complete", objective=objective), goals) == values


ENDS = st.tuples(
    st.sampled_from(["a", "b", "c"]), st.integers(0, 2), st.sampled_from([None, 1, 2]), st.booleans()
)


@given(st.lists(ENDS, max_size=12), st.sampled_from([ACCURACY, LOSS]))
def test_trials_are_ranked_by_value_then_the_size_of_their_familys_first_then_names(ends, goal):
    made = [
        trial_of(
            name, number, "complete" if complete else "pruned", float(value),
            facts={} if size is None else {"parameters": size},
        )
        for number, (name, value, size, complete) in enumerate(ends)
    ]  # fmt: skip
    whole = [trial for trial in made if trial.state == "complete"]

    def key(trial):
        alike = [one for one in whole if (one.family, one.value) == (trial.family, trial.value)]
        size = min(alike, key=lambda one: one.number).facts.get("parameters", math.inf)
        return (-trial.value if goal is ACCURACY else trial.value, size, trial.family, trial.number)

    expected = sorted(whole, key=key)
    assert rank_trials(reversed(made), (goal,)) == expected
    assert best_trial(made, (goal,)) == (expected[0] if expected else None)


@pytest.mark.parametrize(("size", "known"), [(3, 3.0), (2.5, 2.5), (None, math.inf), ("3", math.inf)])
def test_size_of_a_model_is_a_number_or_unknown(size, known):
    assert model_size(trial_of("a", 0, "complete", 0.5, facts={"parameters": size})) == known
    assert model_size(trial_of("a", 0, "complete", 0.5, facts={})) == math.inf
