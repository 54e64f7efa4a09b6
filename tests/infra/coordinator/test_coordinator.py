"""The coordinator, stepped by hand: no Ray, no sleeping."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.coordinator.lane_table import PROCESS_ENDED
from infra.coordinator.messages import AttemptResult, EpochReport
from infra.coordinator.policy import MAX_FAILURES
from infra.errors import FencedError
from infra.ledger import views
from infra.ledger.batch import WriteBatch
from infra.ledger.follower import TrialFollower
from infra.ledger.rows import TrialRow
from tests.infra.conftest import GOAL, Bench, drive, family, hello, run_attempt, sweep


@pytest.fixture
def bench(any_bench: Bench) -> Bench:
    """The contract holds over SQLite and over PostgreSQL."""
    return any_bench


def table(bench: Bench) -> list[tuple[object, ...]]:
    """What of each trial must not depend on how often things died."""
    return [
        (
            t.family,
            t.number,
            t.state,
            tuple(sorted(t.params.items())),
            t.seed,
            t.epoch,
            t.epochs,
            tuple(t.objective or ()),
        )
        for t in views.trials(bench.ledger, bench.sweep_id)
    ]


def test_coordinator_runs_a_sweep_to_its_end(bench: Bench) -> None:
    """Every trial ends, the sweep finishes, and the numbers are those that were reported."""
    coordinator = bench.begin(sweep())
    made = drive(coordinator, hello())
    coordinator.tick()
    trials = views.trials(bench.ledger, bench.sweep_id)
    assert made == len(trials) == 6
    assert all(trial.has_ended for trial in trials)
    assert {trial.state for trial in trials} >= {"complete"}
    assert coordinator.state == "finished"
    assert views.sweep_by_id(bench.ledger, bench.sweep_id).state == "finished"


@pytest.mark.parametrize(
    "any_bench", ["sqlite", pytest.param("postgresql", marks=pytest.mark.long)], indirect=True
)
@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
@pytest.mark.parametrize("pruner", ["asha", "hyperband", "median", "none"])
def test_coordinator_killed_at_every_trial_ends_like_a_quiet_run(
    bench: Bench, tmp_path_factory, sampler: str, pruner: str
) -> None:
    """One lane, the coordinator replaced before every attempt: identical in every trial. Where the quiet run
    is kept changes none of its numbers; on PostgreSQL `make test-all` asks it."""
    spec = sweep(family(trials=16, sampler={"name": sampler}, pruner={"name": pruner}))
    coordinator = bench.begin(spec)
    drive(coordinator, hello())
    quiet = table(bench)

    other = Bench(tmp_path_factory.mktemp("killed"))
    coordinator = other.begin(spec)
    for pid in range(200, 200 + 100):
        if drive(coordinator, hello(pid=pid), most=2) <= 1 and coordinator.is_done:
            break
        # killed after the attempt, before its end was told: the trial is trained once more
        coordinator = other.take_over(token=f"driver-{pid}")
    assert table(other) == quiet
    assert any(row[2] == "pruned" for row in quiet) or pruner == "none"
    other.ledger.close()


def test_attempt_of_dead_lane_resumes_on_another_lane(bench: Bench) -> None:
    """The lease runs out, the trial waits, another lane takes it; the late report changes nothing."""
    coordinator = bench.begin(sweep())
    first, second = hello("lane-0", 100), hello("lane-1", 101)
    coordinator.register_lane(first)
    coordinator.register_lane(second)
    (lost,) = coordinator.next_attempts(first).attempts
    for _ in range(5):
        bench.clock.now += 4
        coordinator.heartbeat(second, None)
        coordinator.tick()
    (again,) = coordinator.next_attempts(second).attempts
    assert (again.number, again.ordinal) == (lost.number, 2)
    late = [EpochReport(epoch=1, metrics={GOAL: 0.99}, at=bench.clock())]
    assert coordinator.decide(first, lost.attempt, late) is False
    assert coordinator.next_attempts(
        first, ended=AttemptResult(attempt=lost.attempt, outcome="complete", objective=(1.0,))
    ).fenced
    assert [lane.pid for lane in coordinator.take_lost_lanes()] == [100]
    trial = views.trials(bench.ledger, bench.sweep_id)[0]
    assert (trial.state, trial.failures, trial.epochs) == ("running", 1, 0)


def test_trial_that_kills_its_lane_fails_after_three_deaths(bench: Bench) -> None:
    """A trial that kills every lane fails with its reason, and the sweep goes on."""
    coordinator = bench.begin(sweep(family(trials=2)))
    for pid in (1, 2, 3):
        me = hello(pid=pid)
        coordinator.register_lane(me)
        (assignment,) = coordinator.next_attempts(me).attempts
        assert assignment.number == 0
        coordinator.tick(alive=lambda lane: False)
    trials = views.trials(bench.ledger, bench.sweep_id)
    assert (trials[0].state, trials[0].reason) == ("failed", f"worker-died: {PROCESS_ENDED}")
    assert drive(coordinator, hello(pid=4)) == 1


def test_lane_with_a_fresh_process_for_each_trial_charges_none_and_leaves_at_the_end(bench: Bench) -> None:
    coordinator = bench.begin(sweep(family(trials=2)))
    for pid in (1, 2):
        me = hello(pid=pid)
        coordinator.register_lane(me)
        (work,) = coordinator.next_attempts(me).attempts
        ended = AttemptResult(attempt=work.attempt, outcome="complete", objective=(0.5,))
        told = coordinator.next_attempts(me, ended=ended, limit=0)
        assert (told.attempts, told.leave) == ((), pid == 2)
        coordinator.tick(alive=lambda lane: False)
    trials = views.trials(bench.ledger, bench.sweep_id)
    assert [(trial.state, trial.attempts, trial.failures) for trial in trials] == [("complete", 1, 0)] * 2


def test_lane_killed_for_memory_costs_one_more_attempt(bench: Bench) -> None:
    """The one that is ended is not always the one that took the memory; at the second time it is said."""
    coordinator = bench.begin(sweep(family(trials=1)))
    coordinator._ends._starved = lambda process: process.pid in {1, 2}
    for pid in (1, 2):
        me = hello(pid=pid)
        coordinator.register_lane(me)
        assert coordinator.next_attempts(me).attempts
        coordinator.tick(alive=lambda lane: False)
    (trial,) = views.trials(bench.ledger, bench.sweep_id)
    assert (trial.state, trial.attempts) == ("failed", 2)
    assert trial.reason == "out-of-memory: its process was ended since memory ran out"


@pytest.mark.parametrize("reason", ["error", "not-finite", "out-of-memory"])
def test_trial_failed_for_its_own_fault_is_not_retried(bench: Bench, reason: str) -> None:
    """One attempt, one reason."""
    coordinator = bench.begin(sweep(family(trials=1)))
    me = hello()
    coordinator.register_lane(me)
    (assignment,) = coordinator.next_attempts(me).attempts
    ended = AttemptResult(
        attempt=assignment.attempt, outcome="failed", reason=reason, detail="boom\nTraceback"
    )
    assert coordinator.next_attempts(me, ended=ended).leave
    (trial,) = views.trials(bench.ledger, bench.sweep_id)
    assert (trial.state, trial.attempts, trial.reason) == ("failed", 1, f"{reason}: boom")
    coordinator.tick()
    assert coordinator.state == "failed"


def test_error_text_of_any_content_is_stored(bench: Bench) -> None:
    """PostgreSQL takes no NUL, and nobody half a surrogate pair: it is written so that it can be read."""
    coordinator = bench.begin(sweep(family(trials=1)))
    me = hello()
    coordinator.register_lane(me)
    (assignment,) = coordinator.next_attempts(me).attempts
    ended = AttemptResult(
        attempt=assignment.attempt, outcome="failed", reason="error", detail="a\0b\udcffc ü\nmore"
    )
    assert coordinator.next_attempts(me, ended=ended).leave
    (trial,) = views.trials(bench.ledger, bench.sweep_id)
    assert trial.reason == "error: a\\0b\\udcffc ü"


def test_replaced_coordinator_is_fenced_off(bench: Bench) -> None:
    """Two coordinators on one sweep: the older one's next write is refused."""
    old = bench.begin(sweep())
    old.register_lane(hello())
    bench.take_over(token="driver-2")
    with pytest.raises(FencedError):
        old.next_attempts(hello())


def test_repeated_call_changes_nothing(bench: Bench) -> None:
    """Ray sends a call again when its answer was lost."""
    coordinator = bench.begin(sweep())
    me = hello()
    coordinator.register_lane(me)
    work = coordinator.next_attempts(me)
    ended = run_attempt(coordinator, work, me)
    first = coordinator.next_attempts(me, ended=ended)
    second = coordinator.next_attempts(me, ended=ended)
    assert first == second
    assert [t.attempts for t in views.trials(bench.ledger, bench.sweep_id)][:2] == [1, 1]


def test_lanes_outlive_their_coordinator(bench: Bench) -> None:
    """The same driver starts a new coordinator: the attempt goes on, uncharged and without a second one."""
    coordinator = bench.begin(sweep())
    me = hello()
    coordinator.register_lane(me)
    work = coordinator.next_attempts(me)
    coordinator = bench.take_over(same_driver=True)
    ended = run_attempt(coordinator, work, me)
    coordinator.next_attempts(me, ended=ended)
    trial = views.trials(bench.ledger, bench.sweep_id)[0]
    assert trial.has_ended
    assert (trial.attempts, trial.failures) == (1, 0)


def test_stop_returns_running_trials_to_waiting(bench: Bench) -> None:
    """After a stop nothing is running, and the next command carries on with the same trial."""
    coordinator = bench.begin(sweep())
    me = hello()
    coordinator.register_lane(me)
    (assignment,) = coordinator.next_attempts(me).attempts
    coordinator.stop("by hand")
    assert coordinator.heartbeat(me, assignment.attempt).stop
    ended = AttemptResult(attempt=assignment.attempt, outcome="stopped", epochs=1)
    assert coordinator.next_attempts(me, ended=ended).leave
    coordinator.conclude_stop()
    assert views.sweep_by_id(bench.ledger, bench.sweep_id).state == "stopped"
    states = {trial.state for trial in views.trials(bench.ledger, bench.sweep_id)}
    assert states == {"waiting"}
    again = bench.take_over(token="driver-2")
    again.register_lane(hello(pid=5))
    (resumed,) = again.next_attempts(hello(pid=5)).attempts
    assert (resumed.number, resumed.ordinal, resumed.resumes) == (assignment.number, 2, True)
    assert views.trials(bench.ledger, bench.sweep_id)[0].failures == 0


def test_families_of_a_sweep_start_in_turn(bench: Bench) -> None:
    """None is left for the end."""
    spec = sweep(family("a", trials=3), family("b", trials=2))
    drive(bench.begin(spec), hello())
    order = [e.family for e in views.events(bench.ledger, bench.sweep_id) if e.kind == "started"]
    assert order == ["a", "b", "a", "b", "a"]


def test_a_running_sweep_grows_on_request(bench: Bench) -> None:
    """`extend` writes a request; the coordinator asks for more trials."""
    coordinator = bench.begin(sweep(family(trials=2)))
    bench.ledger.add_request(bench.sweep_id, "extend", {"trials": 3}, at=bench.clock())
    coordinator.tick()
    assert drive(coordinator, hello()) == 5
    assert views.open_requests(bench.ledger, bench.sweep_id) == []


def test_stop_unanswered_by_dead_driver_does_not_stop_the_next(bench: Bench) -> None:
    """It was asked of that driver, whose end is all that it wanted; a coordinator after it must answer it,
    and so must the next driver a request for more trials."""
    bench.begin(sweep(family(trials=2)))
    bench.ledger.add_request(bench.sweep_id, "stop", {}, at=bench.clock())
    bench.ledger.add_request(bench.sweep_id, "extend", {"trials": 1}, at=bench.clock())
    after = bench.take_over(token="driver-2")
    after.tick()
    assert after.stopping is None
    drive(after, hello())
    assert len(views.trials(bench.ledger, bench.sweep_id)) == 3

    bench.ledger.add_request(bench.sweep_id, "stop", {}, at=bench.clock())
    again = bench.take_over(same_driver=True)
    again.tick()
    assert again.stopping == "asked to stop by another command"


def test_sweep_over_its_minutes_budget_stops(bench: Bench) -> None:
    """Minutes are counted over sessions."""
    coordinator = bench.begin(sweep(minutes=1.0))
    coordinator.register_lane(hello())
    bench.clock.now += 61
    coordinator.heartbeat(hello(), None)
    coordinator.tick()
    assert coordinator.stopping == "the budget of 1 minutes is used up"
    assert coordinator.next_attempts(hello()).leave


@pytest.mark.parametrize("same_driver", [False, True])
def test_stop_state_follows_its_cause_and_not_its_words(bench: Bench, same_driver: bool) -> None:
    """A spent budget finishes a sweep, also where another coordinator of the driver concludes the stop; a
    person may write what they will."""
    coordinator = bench.begin(sweep(minutes=1.0))
    coordinator.register_lane(hello())
    if same_driver:
        bench.clock.now += 61
        coordinator.heartbeat(hello(), None)
        coordinator.tick()
        coordinator = bench.take_over(same_driver=True)
    else:
        coordinator.stop("my patience is used up")
    coordinator.conclude_stop()
    expected = "finished" if same_driver else "stopped"
    assert views.sweep_by_id(bench.ledger, bench.sweep_id).state == expected


def test_time_that_was_spent_outlives_a_killed_coordinator(bench: Bench) -> None:
    coordinator = bench.begin(sweep(minutes=1.0))
    for seconds, stopping in ((40, None), (25, "the budget of 1 minutes is used up")):
        coordinator.register_lane(hello())
        bench.clock.now += seconds
        coordinator.heartbeat(hello(), None)
        coordinator.tick()
        assert coordinator.stopping == stopping
        coordinator = bench.take_over(token="driver-2")


def test_sweep_over_its_budget_can_be_confirmed(bench: Bench) -> None:
    """The budget is the search's; and what confirming takes is not charged to it."""
    coordinator = bench.begin(sweep(minutes=1.0))
    me = hello()
    coordinator.register_lane(me)
    bench.clock.now += 61
    coordinator.heartbeat(me, None)
    coordinator.tick()
    coordinator.conclude_stop()
    params = {"learning_rate": 0.01, "optimizer": "adam"}
    fresh = TrialRow(role="confirm", family="noop", number=0, params=params, seed=1, origin={"number": 0})
    batch = WriteBatch()
    batch.add_event("asked", bench.clock(), {}, fresh)
    bench.ledger.add_events(bench.sweep_id, batch)
    spent = views.sweep_by_id(bench.ledger, bench.sweep_id).facts.get("spent")

    coordinator = bench.take_over(role="confirm", token="driver-2")
    work = coordinator.next_attempts(me)
    bench.clock.now += 30
    coordinator.heartbeat(me, work.attempts[0].attempt)
    coordinator.tick()
    assert coordinator.stopping is None
    coordinator.next_attempts(me, ended=run_attempt(coordinator, work, me))
    coordinator.tick()
    (trial,) = views.trials(bench.ledger, bench.sweep_id, role="confirm")
    assert trial.state == "complete"
    assert views.sweep_by_id(bench.ledger, bench.sweep_id).facts.get("spent") == spent


def test_sweep_keeps_only_the_best_model(bench: Bench) -> None:
    """A better one takes the place; the folder of the former is given up once."""
    coordinator = bench.begin(sweep(family(trials=3, pruner={"name": "none"})))
    me = hello()
    coordinator.register_lane(me)
    ended = None
    for value, model in ((0.5, "m0"), (0.8, "m1"), (0.7, None)):
        (assignment,) = coordinator.next_attempts(me, ended=ended).attempts
        assert assignment.keep_above == {0.5: None, 0.8: 0.5, 0.7: 0.8}[value]
        ended = AttemptResult(attempt=assignment.attempt, outcome="complete", objective=(value,), model=model)
    coordinator.next_attempts(me, ended=ended)
    assert coordinator.take_dropped_folders() == ["m0"]
    assert [t.model for t in views.trials(bench.ledger, bench.sweep_id)] == [None, "m1", None]


@pytest.mark.parametrize("reason", ["error", "not-finite", "out-of-memory", "timeout", "worker-died"])
def test_family_with_broken_code_gets_no_more_trials(
    bench: Bench, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Five failures of one kind and no success: the rest of its trials are not burnt."""
    coordinator = bench.begin(sweep(family(trials=50)))
    me = hello()
    coordinator.register_lane(me)
    ended, made = None, 0
    while (work := coordinator.next_attempts(me, ended=ended)).attempts:
        made += 1
        ended = AttemptResult(
            attempt=work.attempts[0].attempt, outcome="failed", reason=reason, detail="ImportError: x"
        )
    assert made <= 6 * MAX_FAILURES
    coordinator.tick()
    assert coordinator.state == "failed"
    assert (
        f"gets no more trials: all of its first failed, the last by {reason}: ImportError: x" in caplog.text
    )


def test_family_that_fails_for_several_reasons_goes_on(bench: Bench) -> None:
    coordinator = bench.begin(sweep(family(trials=8)))
    me = hello()
    coordinator.register_lane(me)
    ended, made = None, 0
    while (work := coordinator.next_attempts(me, ended=ended)).attempts:
        reason, made = ("not-finite" if made % 2 else "error"), made + 1
        ended = AttemptResult(attempt=work.attempts[0].attempt, outcome="failed", reason=reason, detail="x")
    assert made == 8


def test_lane_silent_while_coordinator_was_deaf_keeps_its_lease(bench: Bench) -> None:
    """A coordinator that was stopped for a minute finds every lane silent, and blames none."""
    coordinator = bench.begin(sweep())
    coordinator.register_lane(hello())
    coordinator.next_attempts(hello())
    bench.clock.now += 60
    coordinator.tick()
    assert coordinator.lanes == 1
    for _ in range(4):
        bench.clock.now += 4
        coordinator.tick()
    assert coordinator.lanes == 0


def test_sweep_without_complete_trial_has_failed(bench: Bench) -> None:
    """Pruned trials were stopped; none of them is a model that anybody could use."""
    coordinator = bench.begin(sweep(family(trials=1, pruner={"name": "percentile", "percentile": 0.0})))
    me = hello()
    coordinator.register_lane(me)
    (assignment,) = coordinator.next_attempts(me).attempts
    told = AttemptResult(attempt=assignment.attempt, outcome="pruned", epochs=1)
    coordinator.next_attempts(me, ended=told)
    coordinator.tick()
    assert views.trials(bench.ledger, bench.sweep_id)[0].state == "pruned"
    assert coordinator.state == "failed"


@pytest.mark.parametrize("survivor", ["driver", "nobody"])
def test_trial_seconds_after_a_takeover_are_those_of_all_attempts(bench: Bench, survivor: str) -> None:
    """A coordinator that dies forgets what passed since it last wrote; the lane that lives on knows."""
    coordinator = bench.begin(sweep(family(trials=1)))
    coordinator.register_lane(hello())
    (assignment,) = coordinator.next_attempts(hello()).attempts
    for _ in range(104):
        bench.clock.now += 1.0
        coordinator.heartbeat(hello(), assignment.attempt)
        coordinator.tick()
    (trial,) = views.trials(bench.ledger, bench.sweep_id)
    assert 98.0 <= trial.seconds <= 104.0
    written = trial.seconds
    bench.clock.now += 30.0  # nobody coordinates
    coordinator = bench.take_over(same_driver=survivor == "driver")
    lane_seconds, expected = 144.0, 144.0
    if survivor == "nobody":
        lane_seconds, expected = 10.0, written + 10.0
        coordinator.register_lane(hello(pid=101))
        (assignment,) = coordinator.next_attempts(hello(pid=101)).attempts
    bench.clock.now += 10.0
    ended = AttemptResult(
        attempt=assignment.attempt, outcome="complete", objective=(0.5,), seconds=lane_seconds
    )
    coordinator.next_attempts(hello(pid=100 if survivor == "driver" else 101), ended=ended)
    (trial,) = views.trials(bench.ledger, bench.sweep_id)
    assert (trial.state, trial.seconds) == ("complete", expected)


def test_confirmation_seconds_survive_a_dead_driver(bench: Bench) -> None:
    """They are written down as the search's are, though no budget counts them."""
    bench.sweep_id = bench.ledger.create_sweep(sweep(), fingerprint="f", facts={}, at=1.0)
    batch = WriteBatch()
    asked = TrialRow(role="confirm", family="noop", number=0, params={}, seed=1)
    batch.add_event("asked", 1.0, {}, asked)
    bench.ledger.add_events(bench.sweep_id, batch)
    coordinator = bench.take_over(role="confirm")
    coordinator.register_lane(hello())
    assert coordinator.next_attempts(hello()).attempts
    bench.clock.now += 6.0
    coordinator.tick()
    bench.take_over(role="confirm", token="driver-2")
    (trial,) = views.trials(bench.ledger, bench.sweep_id, role="confirm")
    assert (trial.state, trial.seconds) == ("waiting", 6.0)


def test_trial_says_where_its_last_attempt_ran(bench: Bench) -> None:
    coordinator = bench.begin(sweep(family(trials=1)))
    for lane in (replace(hello("run-1-0", 1), host="w1"), replace(hello("run-2-0", 2), host="w2")):
        lane = replace(lane, facts={"gpu": "3"})
        coordinator.register_lane(lane)
        assert coordinator.next_attempts(lane).attempts
        coordinator.tick(alive=lambda lane: False)
    (trial,) = views.trials(bench.ledger, bench.sweep_id)
    assert trial.facts["place"] == {"host": "w2", "lane": "run-2-0", "gpu": "3"}


def test_supply_of_lanes_stands_in_the_ledger_and_is_written_when_it_changes(bench: Bench) -> None:
    coordinator = bench.begin(sweep())
    coordinator.register_lane(hello("run-1-0", 100))
    coordinator.register_lane(hello("run-1-1", 101))
    coordinator.register_lane(hello("run-2-0", 102))
    assert coordinator.lanes_by_run == {"run-1": 2, "run-2": 1}
    coordinator.record_supply(5, "2 lanes wait for 2 CPU on one node; free: 1 + 1")
    told = {"planned": 5, "up": 3, "waits_for": "2 lanes wait for 2 CPU on one node; free: 1 + 1"}
    assert views.sweep_by_id(bench.ledger, bench.sweep_id).facts["lanes"] == told


def test_first_value_is_the_newest_report_until_a_trial_has_ended(bench: Bench) -> None:
    coordinator = bench.begin(sweep(family(trials=2)))
    follower = TrialFollower(bench.ledger, bench.sweep_id, "search")
    coordinator.register_lane(hello())
    work = coordinator.next_attempts(hello())
    follower.trials()
    assert follower.first_value(GOAL) == ""
    (assignment,) = work.attempts
    for epoch, value in ((1, 0.25), (2, 0.51239)):
        report = EpochReport(epoch=epoch, metrics={GOAL: value}, at=bench.clock())
        coordinator.heartbeat(hello(), assignment.attempt, [report])
    follower.trials()
    assert follower.first_value(GOAL) == "noop #0: accuracy 0.5124 after epoch 2"
    assert follower.first_value("val/other") == ""
    assert TrialFollower(bench.ledger, bench.sweep_id, "confirm").first_value(GOAL) == ""
    coordinator.next_attempts(hello(), ended=run_attempt(coordinator, work, hello()))
    follower.trials()
    assert follower.first_value(GOAL) == ""
