"""Each event of the coordinator: what it first settles, what it answers, and that it is written then."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from infra.coordinator.core import Coordinator
from infra.coordinator.messages import (
    Assignment,
    AttemptResult,
    EpochReport,
    LaneHandshake,
    LaneWork,
    StackChoice,
    StackRequest,
)
from infra.coordinator.process_faults import ProcessFault
from infra.ledger import views
from infra.ledger.batch import WriteBatch
from infra.ledger.rows import SweepRow, TrialRow
from infra.ledger.store import Ledger
from infra.spec import Resources
from tests.infra.conftest import GOAL, Bench, drive, family, hello, run_attempt, sweep

ONE = {"parameters": [{"name": "learning_rate", "type": "float", "low": 0.001, "high": 0.1}]}
LANE, OTHER = hello("run-1-0", 1), hello("run-1-1", 2)


def plain(name: str = "noop", **changes: Any) -> Any:
    usual = {"pruner": {"name": "none"}, "sampler": {"name": "random"}, "trials": 6, "space": ONE}
    return family(name, **{**usual, **changes})


def begin(bench: Bench, *families: Any, **changes: Any) -> Coordinator:
    coordinator = bench.begin(sweep(*(families or (plain(),)), **changes))
    coordinator._desk._structure_of = lambda of, params: "s"
    coordinator.register_lane(LANE)
    return coordinator


def pull(coordinator: Coordinator, lane: LaneHandshake = LANE, **options: Any) -> Assignment:
    (work,) = coordinator.next_attempts(lane, **options).attempts
    return work


def told(bench: Bench, kind: str) -> list[dict[str, Any]]:
    return [event.payload for event in views.events_of_kind(bench.ledger, bench.sweep_id, kind)]


def row(bench: Bench) -> SweepRow:
    return views.sweep_by_id(bench.ledger, bench.sweep_id)


def trials(bench: Bench, role: str = "search") -> list[TrialRow]:
    return views.trials(bench.ledger, bench.sweep_id, role=role)


def report(epoch: int = 1, value: float = 0.5) -> EpochReport:
    return EpochReport(epoch=epoch, metrics={GOAL: value}, at=1.0)


def complete(work: Assignment, value: float = 0.5, **more: Any) -> AttemptResult:
    return AttemptResult(attempt=work.attempt, outcome="complete", objective=(value,), epoch=1, **more)


def failed(work: Assignment, **more: Any) -> AttemptResult:
    return AttemptResult(**{"attempt": work.attempt, "outcome": "failed", "reason": "error", **more})


def request(*holding: Assignment, limit: int = 0) -> StackRequest:
    held = frozenset(one.attempt for one in holding)
    return StackRequest(family="noop", structure="s", holding=held, limit=limit)


CHOICE = StackChoice(family="noop", structure="s", width=4, gain=2.0, reason="r")
Event = Callable[[Coordinator, Assignment], object]
ASKS_AHEAD: dict[str, Event] = {
    "register": lambda c, a: c.register_lane(OTHER),
    "next": lambda c, a: c.next_attempts(LANE),
    "next of a fenced lane": lambda c, a: c.next_attempts(replace(LANE, pid=9)),
    "refill": lambda c, a: c.refill_stack(LANE, request(a)),
    "choice": lambda c, a: c.record_stack_choice(LANE, CHOICE),
    "failure": lambda c, a: c.report_attempt_failure(AttemptResult(attempt="gone", outcome="failed")),
    "heartbeat": lambda c, a: c.heartbeat(LANE, a.attempt),
    "decide": lambda c, a: c.decide(LANE, a.attempt, [report()]),
    "tick": lambda c, a: c.tick(),
    "stop": lambda c, a: c.stop("told to"),
    "conclude": lambda c, a: c.conclude_stop(),
}


@pytest.mark.parametrize("event", ASKS_AHEAD.values(), ids=ASKS_AHEAD)
def test_trial_that_an_event_left_to_be_asked_is_asked_first_by_the_next(bench: Bench, event: Event) -> None:
    """Also one that is refused: so no lane waits for a sampler."""
    coordinator = begin(bench)
    work = pull(coordinator)
    assert len(told(bench, "asked")) == 1
    event(coordinator, work)
    assert len(told(bench, "asked")) == 2


def test_first_trials_are_asked_for_while_lanes_come_up(bench: Bench) -> None:
    coordinator = bench.begin(sweep(plain("a"), plain("b"), plain("c", resources=Resources(cpus=2.0))))
    assert told(bench, "session") == [{"role": "search", "same_driver": False}]
    coordinator.tick()
    asked = [(t.family, t.number) for t in trials(bench)]
    assert asked == [("a", 0), ("c", 0)]  # one a shape
    coordinator = bench.take_over(same_driver=True)
    assert told(bench, "session")[1] == {"role": "search", "same_driver": True}
    coordinator.tick()
    assert len(trials(bench)) == 2  # they wait still


WRITES: dict[str, tuple[Event, str]] = {
    "register": (lambda c, a: c.register_lane(replace(LANE, pid=9)), "attempt-ended"),
    "next": (lambda c, a: c.next_attempts(OTHER), "started"),
    "next after an end": (lambda c, a: c.next_attempts(LANE, ended=complete(a), limit=0), "ended"),
    "next after a spoiling end": (
        lambda c, a: c.next_attempts(LANE, ended=failed(a, fault=ProcessFault.DISK)),
        "lane-sick",
    ),
    "reports of an end": (
        lambda c, a: c.next_attempts(LANE, ended=complete(a), reports=[report()]),
        "reported",
    ),
    "refill": (lambda c, a: c.refill_stack(LANE, request(), ended=[complete(a)]), "ended"),
    "refill with reports": (
        lambda c, a: c.refill_stack(LANE, request(), ended=[complete(a)], reports={a.attempt: [report()]}),
        "reported",
    ),
    "refill after a spoiling end": (
        lambda c, a: c.refill_stack(LANE, request(), ended=[failed(a, fault=ProcessFault.DISK)]),
        "lane-sick",
    ),
    "choice": (lambda c, a: c.record_stack_choice(LANE, CHOICE), "stack"),
    "held memory": (lambda c, a: c.note_held_memory(LANE, 1 << 30), "gpu-held"),
    "failure": (lambda c, a: c.report_attempt_failure(failed(a)), "ended"),
    "reports of a failure": (lambda c, a: c.report_attempt_failure(failed(a), [report()]), "reported"),
    "heartbeat": (lambda c, a: c.heartbeat(LANE, a.attempt, [report()]), "reported"),
    "decide": (lambda c, a: c.decide(LANE, a.attempt, [report()]), "reported"),
    "tick": (lambda c, a: c.tick(alive=lambda lane: False), "attempt-ended"),
    "conclude": (lambda c, a: c.conclude_stop(), "concluded"),
}  # fmt: skip


@pytest.mark.parametrize(("event", "kind"), WRITES.values(), ids=WRITES)
def test_event_that_returns_is_in_the_ledger(bench: Bench, event: Event, kind: str) -> None:
    coordinator = begin(bench)
    work = pull(coordinator)
    before = len(told(bench, kind))
    event(coordinator, work)
    assert len(told(bench, kind)) == before + 1


def test_stop_is_in_the_ledger_with_its_first_reason_until_another_driver_comes(bench: Bench) -> None:
    coordinator = begin(bench)
    coordinator.stop("the first")
    coordinator.stop("another")
    assert coordinator.stopping == row(bench).facts["stopping"] == "the first"
    assert bench.take_over(same_driver=True).stopping == "the first"
    assert bench.take_over(token="another").stopping is None
    assert not {"stopping", "stop_cause"} & row(bench).facts.keys()


@pytest.mark.parametrize("stopped", [False, True])
def test_concluded_stop_returns_what_runs_with_its_reason(bench: Bench, stopped: bool) -> None:
    coordinator = begin(bench)
    work = pull(coordinator)
    if stopped:
        coordinator.stop("told to")
    bench.clock.now += 3
    coordinator.conclude_stop()
    (ended,) = told(bench, "attempt-ended")
    words = "told to" if stopped else ""
    assert ended == {"attempt": work.attempt, "outcome": "stopped", "detail": words}
    assert told(bench, "concluded") == [{"state": "stopped", "why": words, "role": "search"}]
    assert (row(bench).state, row(bench).updated_at, coordinator.state) == ("stopped", 1_003.0, "stopped")
    coordinator.conclude_stop()
    assert len(told(bench, "concluded")) == 1


def test_stopped_sweep_runs_again_under_the_next_driver(bench: Bench) -> None:
    coordinator = begin(bench)
    coordinator.conclude_stop()
    bench.take_over(role="confirm", token="confirms")
    assert row(bench).state == "stopped"  # who confirms does not search
    bench.take_over(token="another")
    assert row(bench).state == "running"


def test_finished_sweep_is_concluded_once_and_no_budget_stops_it_any_more(bench: Bench) -> None:
    coordinator = begin(bench, plain(trials=1), minutes=1.0)
    work = pull(coordinator)
    bench.clock.now += 10
    coordinator.tick()
    assert row(bench).facts["spent"]["elapsed_s"] == 10.0
    bench.clock.now += 2
    coordinator.next_attempts(LANE, ended=complete(work))
    coordinator.tick()
    assert (coordinator.state, coordinator.is_done) == ("finished", True)
    assert row(bench).facts["spent"]["elapsed_s"] == 12.0
    for _ in range(20):
        bench.clock.now += 4
        coordinator.tick()
    assert (coordinator.stopping, len(told(bench, "concluded"))) == (None, 1)


@pytest.mark.parametrize(("step", "saved"), [(5.0, 0), (5.5, 1)])
def test_time_spent_is_written_down_every_few_seconds(bench: Bench, step: float, saved: int) -> None:
    coordinator = begin(bench)
    bench.clock.now += step
    coordinator.tick()
    assert ("spent" in row(bench).facts) == bool(saved)
    bench.clock.now += 1.0
    coordinator.tick()
    assert row(bench).facts["spent"]["elapsed_s"] == (step if saved else step + 1.0)


# -- what a lane is told -----------------------------------------------------------------------------------


def test_lane_waits_while_trials_of_its_shape_run_and_leaves_else(bench: Bench) -> None:
    large = hello("run-2-0", 7)
    large = replace(large, shape="1x2cpu")
    coordinator = begin(bench, plain("a", trials=1), plain("b", trials=1, resources=Resources(cpus=2.0)))
    coordinator.register_lane(OTHER)
    coordinator.register_lane(large)
    first, second = pull(coordinator), pull(coordinator, large)
    assert (first.family, second.family) == ("a", "b")
    assert coordinator.next_attempts(OTHER) == LaneWork(wait_s=0.25)
    coordinator.next_attempts(LANE, ended=complete(first), limit=0)
    assert coordinator.lanes == 2  # the first one's process ends, and no other is needed in its place
    assert coordinator.next_attempts(OTHER) == LaneWork(leave=True)
    assert coordinator.lanes == 1


def test_lane_whose_process_ends_after_each_trial_is_told_whether_another_is_needed(bench: Bench) -> None:
    coordinator = begin(bench, plain(trials=3))
    work = pull(coordinator)
    after = coordinator.next_attempts(LANE, ended=complete(work), limit=0)
    assert after == LaneWork(wait_s=0.25, leave=False)
    work = pull(coordinator)
    coordinator.stop("told to")
    assert coordinator.next_attempts(LANE, ended=complete(work), limit=0).leave


def test_lane_of_a_stopping_sweep_leaves_and_its_trial_waits(bench: Bench) -> None:
    coordinator = begin(bench)
    work = pull(coordinator)
    reply = coordinator.heartbeat(LANE, work.attempt)
    assert (reply.stop, reply.void, reply.fenced) == (False, False, False)
    coordinator.stop("told to")
    assert coordinator.heartbeat(LANE, work.attempt).stop
    assert coordinator.next_attempts(LANE) == LaneWork(leave=True)
    assert coordinator.lanes == 0


def test_heartbeat_says_what_is_not_the_lanes_own(bench: Bench) -> None:
    coordinator = begin(bench)
    work = pull(coordinator)
    assert coordinator.heartbeat(LANE, None).void
    assert coordinator.heartbeat(LANE, "another").void
    assert not coordinator.heartbeat(LANE, work.attempt).void
    reply = coordinator.heartbeat_stack(LANE, {work.attempt: [], "another": []})
    assert (reply.void, reply.stop, reply.fenced) == (frozenset({"another"}), False, False)
    stranger = replace(LANE, pid=9)
    reply = coordinator.heartbeat_stack(stranger, {work.attempt: [report()]})
    assert (reply.void, reply.fenced) == (frozenset({work.attempt}), True)
    alone = coordinator.heartbeat(stranger, work.attempt, [report()])
    assert (alone.void, alone.fenced) == (True, True)
    assert told(bench, "reported") == []


def test_stranger_is_fenced_whatever_it_asks(bench: Bench) -> None:
    coordinator = begin(bench)
    work, stranger = pull(coordinator), replace(LANE, pid=9)
    fenced = LaneWork(fenced=True)
    assert coordinator.next_attempts(stranger, ended=complete(work)) == fenced
    assert coordinator.refill_stack(stranger, request(), ended=[complete(work)]) == fenced
    assert not coordinator.decide(stranger, work.attempt, [report()])
    coordinator.record_stack_choice(stranger, CHOICE)
    assert (told(bench, "ended"), told(bench, "stack"), told(bench, "reported")) == ([], [], [])
    spoilt = failed(work, fault=ProcessFault.DISK)
    assert coordinator.next_attempts(LANE, ended=spoilt) == fenced
    coordinator.register_lane(OTHER)
    work = pull(coordinator, OTHER)
    spoilt = failed(work, fault=ProcessFault.DISK)
    assert coordinator.refill_stack(OTHER, request(), ended=[spoilt]) == fenced


def test_question_about_an_attempt_that_is_over_ends_it(bench: Bench) -> None:
    coordinator = begin(bench)
    work = pull(coordinator)
    assert coordinator.decide(LANE, work.attempt, [report()])
    assert coordinator.decide_stack(LANE, {work.attempt: [report(2)], "gone": [report()]}) == {work.attempt}
    coordinator.next_attempts(LANE, ended=complete(work))
    assert not coordinator.decide(LANE, work.attempt, [report(3)])


def test_question_is_about_the_last_of_the_reports_that_come_with_it(bench: Bench) -> None:
    coordinator = begin(bench, plain(pruner={"name": "percentile", "percentile": 0.0, "startup": 0}))
    work = pull(coordinator)
    assert coordinator.decide(LANE, work.attempt, [report(1, 0.9), report(2, 0.95)])
    assert [sorted(one) for one in told(bench, "reported")] == [
        ["epoch", "judged", "metrics"], ["epoch", "metrics"],
    ]  # fmt: skip


# -- stacks ------------------------------------------------------------------------------------------------


def stack_of(bench: Bench, lanes: int = 1, **changes: Any) -> tuple[Coordinator, Assignment]:
    coordinator = begin(bench, plain(stack=8, **changes))
    coordinator.needs._lanes = lanes
    return coordinator, pull(coordinator)


@pytest.mark.parametrize(
    ("lanes", "trials", "limit", "got"),
    [(1, 6, 9, 5), (1, 6, 2, 2), (2, 6, 9, 2), (2, 5, 9, 2), (3, 6, 9, 1), (6, 6, 9, 0), (1, 6, 0, 0)],
)
def test_stack_takes_its_share_of_what_is_left_and_no_more_than_it_has_places_for(
    bench: Bench, lanes: int, trials: int, limit: int, got: int
) -> None:
    """No other lane is to stand idle for it."""
    coordinator, first = stack_of(bench, lanes, trials=trials)
    assert len(coordinator.refill_stack(LANE, request(first, limit=limit)).attempts) == got


def test_full_stack_of_a_stopping_sweep_or_on_a_lane_that_is_to_leave_stays_as_it_is(bench: Bench) -> None:
    coordinator, first = stack_of(bench)
    more = coordinator.refill_stack(LANE, request(first, limit=1)).attempts
    assert len(more) == 1
    coordinator.sick.dismiss(["run-1"])
    assert coordinator.refill_stack(LANE, request(first, *more, limit=4)).attempts == ()
    coordinator.sick._dismissed = frozenset()
    coordinator.stop("told to")
    assert coordinator.refill_stack(LANE, request(first, *more, limit=4)).attempts == ()


def test_stack_that_grew_leaves_one_trial_to_be_asked_ahead(bench: Bench) -> None:
    coordinator, first = stack_of(bench)
    coordinator.refill_stack(LANE, request(first, limit=3))
    assert len(told(bench, "asked")) == 4
    coordinator.tick()
    assert len(told(bench, "asked")) == 5


def test_trial_of_another_structure_that_is_next_in_line_ends_a_stack(bench: Bench) -> None:
    coordinator, first = stack_of(bench)
    coordinator._desk._structure_of = lambda of, params: str(params == first.params)
    mine = replace(request(first, limit=3), structure="True")
    assert coordinator.refill_stack(LANE, mine).attempts == ()
    assert len(told(bench, "asked")) == 2


def test_trial_of_another_family_in_line_does_not_end_a_stack(bench: Bench) -> None:
    coordinator = begin(bench, plain(stack=8), plain("other"))
    first = pull(coordinator)
    coordinator.tick()  # the other family's trial is in line
    assert [t.family for t in trials(bench)] == ["noop", "other"]
    assert [one.family for one in coordinator.refill_stack(LANE, request(first, limit=2)).attempts] == [
        "noop", "noop",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("limit", "held", "places", "joins"),
    [
        (2, 1, 1, True),
        (2, 1, 2, False),
        (3, 1, 2, True),
        (4, 2, 2, True),
        (4, 2, 3, False),
        (None, 1, 9, True),
    ],
)
def test_trial_whose_stack_ended_its_lane_joins_one_that_cannot_become_larger_than_its_limit(
    bench: Bench, limit: int | None, held: int, places: int, joins: bool
) -> None:
    coordinator, first = stack_of(bench, trials=12)
    holding = [first, *coordinator.refill_stack(LANE, request(first, limit=held - 1)).attempts]
    coordinator.tick()
    (fresh,) = [trial for trial in coordinator.book.all_open_trials() if trial.state == "waiting"]
    fresh.origin = {} if limit is None else {"stack_limit": limit}
    found = coordinator.refill_stack(LANE, request(*holding, limit=places)).attempts
    assert (fresh.number in {one.number for one in found}) is joins


@pytest.mark.parametrize(("limit", "alone"), [(1, True), (2, False), (3, False)])
def test_trial_is_trained_alone_where_its_stack_may_have_one_member(
    bench: Bench, limit: int, alone: bool
) -> None:
    coordinator = begin(bench, plain(stack=8))
    (fresh,) = coordinator.book.all_open_trials()
    fresh.origin = {"stack_limit": limit}
    work = pull(coordinator)
    assert (work.structure is None, work.stack_limit) == (alone, limit)


@pytest.mark.parametrize(("stack", "structure"), [(8, "s"), ("auto", "s"), ("off", None), (None, None)])
def test_trial_has_a_structure_where_its_family_is_stacked(
    bench: Bench, stack: object, structure: str | None
) -> None:
    work = pull(begin(bench, plain(stack=stack)))
    assert (work.structure, work.stack_limit) == (structure, None)


def test_choices_of_lanes_are_kept_by_family_and_structure(bench: Bench) -> None:
    coordinator = begin(bench, plain(), plain("other"))
    for name, structure, width in (("noop", "s", 4), ("noop", "t", 2), ("other", "s", 8), ("noop", "s", 1)):
        choice = StackChoice(family=name, structure=structure, width=width, gain=None, reason="r")
        coordinator.record_stack_choice(LANE, choice)
    found = row(bench).facts["stacks"]
    assert {name: {key: one["width"] for key, one in of.items()} for name, of in found.items()} == {
        "noop": {"s": 1, "t": 2}, "other": {"s": 8},
    }  # fmt: skip
    assert told(bench, "stack")[0] == {
        "family": "noop", "structure": "s", "width": 4, "gain": None, "reason": "r",
    }  # fmt: skip


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("fault", [None, ProcessFault.DISK])
def test_failure_in_a_stack_blames_nobody_and_one_that_spoils_the_process_takes_all_along(
    bench: Bench, members: int, fault: ProcessFault | None
) -> None:
    coordinator, first = stack_of(bench)
    coordinator.refill_stack(LANE, request(first, limit=members - 1))
    coordinator.report_attempt_failure(failed(first, fault=fault, detail="boom"))
    outcomes = [ended["outcome"] for ended in told(bench, "attempt-ended")]
    assert outcomes == ["error" if fault is None else "lane-sick"] * members
    charged = members == 1 and fault is None
    assert [trial.failures for trial in trials(bench)[:members]] == [int(charged)] * members
    limits = [(trial.origin or {}).get("stack_limit") for trial in trials(bench)[:members]]
    assert limits == [1 if members == 2 and fault is None else None] * members


# -- lanes that end ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("known", [False, True])
def test_process_that_takes_a_slot_ends_what_ran_there(bench: Bench, known: bool) -> None:
    """Also where a coordinator has not heard of the former one."""
    coordinator = begin(bench)
    work = pull(coordinator)
    if not known:
        coordinator = bench.take_over(same_driver=True)
        coordinator._roster.remove(LANE.lane)
    coordinator._ends._starved = lambda process: process.pid == LANE.pid
    coordinator.register_lane(LANE if not known else replace(LANE, pid=9))
    (ended,) = told(bench, "attempt-ended")
    assert (ended["attempt"], ended["outcome"]) == (
        work.attempt, "out-of-memory" if known else "worker-died",
    )  # fmt: skip
    assert trials(bench)[0].failures == 1


def test_memory_is_not_asked_of_a_lane_that_trained_nothing(bench: Bench) -> None:
    coordinator, asked = begin(bench), list[int]()
    coordinator._ends._starved = lambda process: bool(asked.append(process.pid))
    coordinator.tick(alive=lambda lane: False)
    assert asked == []
    coordinator.register_lane(OTHER)
    pull(coordinator, OTHER)
    coordinator.tick(alive=lambda lane: False)
    assert asked == [OTHER.pid]
    assert trials(bench)[0].state == "waiting"


@pytest.mark.parametrize("spoilt", [False, True])
def test_new_process_of_a_slot_says_nothing_of_what_the_former_ones_pruned_trial_measured(
    bench: Bench, spoilt: bool
) -> None:
    coordinator = begin(bench, plain(pruner={"name": "percentile", "percentile": 0.0, "startup": 0}))
    coordinator._studies.should_prune = lambda *_: True  # type: ignore[union-attr, method-assign]
    work = pull(coordinator)
    assert not coordinator.decide(LANE, work.attempt, [report(1, 0.1)])
    if spoilt:
        coordinator.report_attempt_failure(failed(pull(coordinator), fault=ProcessFault.DISK))
    else:
        coordinator.tick(alive=lambda lane: False)
    later = replace(LANE, pid=9)
    coordinator.register_lane(later)
    late = AttemptResult(attempt=work.attempt, outcome="pruned", facts={"size": 3})
    coordinator.next_attempts(later, ended=late)
    assert "size" not in trials(bench)[0].facts


def test_coordinator_of_the_same_driver_knows_its_lanes_and_what_they_train(bench: Bench) -> None:
    lane = replace(LANE, shape="1x1cpu", facts={"node": "n1"})
    coordinator = begin(bench)
    coordinator.register_lane(lane)
    work = pull(coordinator, lane)
    again = bench.take_over(same_driver=True)
    assert (again.lanes, again.running, again.lanes_by_run) == (1, 1, {"run-1": 1})
    assert again._roster.holder(lane.lane) is not None
    assert again.next_attempts(lane).attempts[0].attempt == work.attempt
    another = bench.take_over(token="another")
    assert (another.lanes, another.running) == (0, 0)
    assert told(bench, "attempt-ended") == [
        {"attempt": work.attempt, "outcome": "driver-ended", "detail": ""}
    ]


def test_takeover_of_a_confirmation_finds_its_own_attempt_beside_the_searchs(bench: Bench) -> None:
    coordinator = begin(bench, plain(trials=1))
    coordinator.next_attempts(
        LANE, ended=run_attempt(coordinator, LaneWork(attempts=(pull(coordinator),)), LANE)
    )
    coordinator.tick()
    batch, params = WriteBatch(), trials(bench)[0].params
    fresh = TrialRow(role="confirm", family="noop", number=0, params=params, seed=1, origin={"number": 0})
    batch.add_event("asked", 1.0, {}, fresh)
    bench.ledger.add_events(bench.sweep_id, batch)
    coordinator = bench.take_over(role="confirm", token="confirms")
    coordinator.register_lane(LANE)
    work = pull(coordinator)
    assert (work.role, work.read_test, work.deciding, work.keep_above) == ("confirm", True, (), None)
    coordinator.heartbeat(LANE, work.attempt, [report()])
    for number in (1, 2):
        bench.clock.now += 1.0
        coordinator = bench.take_over(role="confirm", token=f"again-{number}")
        coordinator.register_lane(replace(LANE, pid=10 + number))
        work = pull(coordinator, replace(LANE, pid=10 + number))
        assert (work.attempt.split("-")[1], work.ordinal, work.resumes) == ("confirm", number + 1, True)
    searched = views.attempts(bench.ledger, bench.sweep_id, "noop", 0)
    assert [one.outcome for one in searched if one.role == "search"] == ["complete"]


# -- demand and requests -----------------------------------------------------------------------------------


def test_demand_is_what_has_not_ended_by_shape(bench: Bench) -> None:
    large = Resources(cpus=2.0)
    coordinator = begin(bench, plain("a", trials=3), plain("b", trials=2, resources=large))
    assert coordinator.demand == {"1x1cpu": (Resources(), 3), "1x2cpu": (large, 2)}
    work = pull(coordinator)
    assert coordinator.demand["1x1cpu"] == (Resources(), 3)
    assert not coordinator.is_done
    coordinator.next_attempts(LANE, ended=complete(work), limit=0)
    assert coordinator.demand == {"1x1cpu": (Resources(), 2), "1x2cpu": (large, 2)}
    (waiting,) = coordinator.book.open_trials("a")
    waiting.resources = {"cpus": 2.0}
    assert coordinator.demand == {"1x1cpu": (Resources(), 1), "1x2cpu": (large, 3)}
    assert coordinator.next_attempts(OTHER).attempts[0].number == 2  # that one needs a larger lane


def test_sweep_is_not_done_while_its_last_trial_runs_or_one_is_to_be_asked(bench: Bench) -> None:
    coordinator = begin(bench, plain(trials=2))
    work = pull(coordinator)
    work = pull(coordinator, ended=complete(work))
    assert coordinator.book.count_to_ask("noop") == 0
    assert not coordinator.is_done
    coordinator.next_attempts(LANE, ended=complete(work))
    assert coordinator.is_done


def test_resources_that_are_settled_on_a_cluster_take_the_place_of_the_files(bench: Bench) -> None:
    begin(bench)
    epoch = bench.ledger.raise_epoch(bench.sweep_id, bench.token)
    settled = {"noop": Resources(cpus=3.0)}
    coordinator = Coordinator(
        bench.ledger, bench.sweep_id, epoch=epoch, resources=settled, clock=bench.clock, steady=bench.clock
    )
    assert list(coordinator.demand) == ["1x3cpu"]


def test_growth_is_written_into_the_sweep_and_told(bench: Bench) -> None:
    coordinator = begin(bench, plain("a", trials=1), plain("b", trials=2))
    bench.ledger.add_request(bench.sweep_id, "extend", {"trials": 2, "family": "b"}, at=1.0)
    coordinator.tick()
    assert [one.trials for one in row(bench).spec.families] == [1, 4]
    assert told(bench, "grown") == [{"families": {"a": 1, "b": 4}}]
    assert views.open_requests(bench.ledger, bench.sweep_id) == []
    assert coordinator.demand["1x1cpu"][1] == 5
    assert coordinator.stopping is None


def test_failed_trials_wait_again_on_request_and_no_others(bench: Bench) -> None:
    coordinator = begin(bench, plain(trials=2))
    work = pull(coordinator, ended=failed(pull(coordinator), detail="x"))
    coordinator.next_attempts(LANE, ended=complete(work))
    bench.ledger.add_request(bench.sweep_id, "retry", {"resources": {"cpus": 2.0}}, at=1.0)
    for request in views.open_requests(bench.ledger, bench.sweep_id):
        coordinator._standing.answer_request(request)
    coordinator.tick()
    first, second = trials(bench)
    assert (first.state, first.failures, first.resources) == ("waiting", 0, {"cpus": 2.0})
    assert (second.state, second.resources) == ("complete", None)
    assert told(bench, "retry")[0] == {"resources": {"cpus": 2.0}}
    assert coordinator.demand == {"1x2cpu": (Resources(cpus=2.0), 1)}
    again = coordinator.next_attempts(replace(OTHER, shape="1x2cpu")).attempts
    assert [one.number for one in again] == [0]


@pytest.mark.parametrize("kind", ["stop", "extend", "retry", "of a later version"])
def test_request_is_answered_once(bench: Bench, kind: str) -> None:
    coordinator = begin(bench)
    bench.ledger.add_request(bench.sweep_id, kind, {"trials": 1}, at=1.0)
    coordinator.tick()
    assert views.open_requests(bench.ledger, bench.sweep_id) == []
    assert coordinator.stopping == ("asked to stop by another command" if kind == "stop" else None)
    assert [len(told(bench, one)) for one in ("grown", "retry")] == [int(kind == "extend"), 0]


def test_supply_is_written_when_it_changes_and_only_then(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator, real, written = begin(bench), Ledger.commit, list[Mapping[str, Any]]()

    def note(ledger: Ledger, sweep_id: int, epoch: int, batch: WriteBatch) -> None:
        written.append(json.loads(json.dumps(batch.sweep.get("facts", {}))))
        real(ledger, sweep_id, epoch, batch)

    monkeypatch.setattr(Ledger, "commit", note)
    for planned, waits_for, claim in ((2, "", None), (2, "", None), (2, "x", None), (2, "x", {"cpus": 1})):
        coordinator.record_supply(planned, waits_for, claim)
    assert [(one["lanes"]["waits_for"], one["claim"]) for one in written] == [
        ("", None), ("x", None), ("x", {"cpus": 1}),
    ]  # fmt: skip
    assert written[0]["lanes"] == {"planned": 2, "up": 1, "waits_for": ""}


# -- trials that wait at a rung ----------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["tick", "next"])
def test_trials_left_at_a_rung_end_when_nothing_more_can_come_there(bench: Bench, by: str) -> None:
    pruner = {"name": "asha", "min_epochs": 1, "reduction": 3, "resume": True}
    coordinator = begin(bench, plain(trials=2, pruner=pruner))
    coordinator._studies.should_prune = lambda *_: True  # type: ignore[union-attr, method-assign]
    coordinator._studies.may_go_on = lambda *_: False  # type: ignore[union-attr, method-assign]
    stopped: AttemptResult | None = None
    for number in range(2):
        work = pull(coordinator, ended=stopped)
        assert not coordinator.decide(LANE, work.attempt, [report(1, float(number))])
        stopped = AttemptResult(attempt=work.attempt, outcome="stopped")
    limit = 0 if by == "tick" else 1
    coordinator.next_attempts(LANE, ended=stopped, limit=limit)
    if by == "tick":
        assert {trial.state for trial in trials(bench)} == {"waiting"}
        coordinator.tick()
    assert {trial.state for trial in trials(bench)} == {"pruned"}


# -- warm starts -------------------------------------------------------------------------------------------


def test_trials_of_earlier_sweeps_are_taught_once_and_counted(bench: Bench) -> None:
    coordinator = bench.begin(sweep(plain(trials=3), plain("gone", trials=1), name="early"))
    coordinator.register_lane(LANE)
    ended: AttemptResult | None = None
    for value in (0.5, 0.25, None, 0.75):
        work = pull(coordinator, ended=ended)
        ended = failed(work, detail="x") if value is None else complete(work, value)
    coordinator.next_attempts(LANE, ended=ended)
    outcomes = [(trial.family, trial.state) for trial in trials(bench)]
    usable = outcomes.count(("noop", "complete"))
    assert usable in (2, 3)
    spec = sweep(plain(), plain("new"), name="late", warm_start=("early", "never"))
    later = bench.begin(spec)
    assert row(bench).facts["warm_started"] == usable
    studies = later._studies
    assert studies is not None
    assert len(studies._studies["noop"].get_trials()) == usable
    for token in ("again", "and again"):
        later = bench.take_over(token=token)
        assert len(later._studies._studies["noop"].get_trials()) == usable  # type: ignore[union-attr]
    plainly = bench.begin(sweep(plain(), name="plain"))
    assert "warm_started" not in row(bench).facts
    assert plainly._studies is not None


def test_bare_coordinator_searches_with_one_lane(bench: Bench) -> None:
    begin(bench)
    drive(bench.take_over(token="x"), hello(pid=3), most=1)
    epoch = bench.ledger.raise_epoch(bench.sweep_id, "x")
    coordinator = Coordinator(bench.ledger, bench.sweep_id, epoch=epoch)
    assert (coordinator.needs._lanes, coordinator._standing.role, coordinator.state) == (
        1,
        "search",
        "running",
    )
    assert told(bench, "session")[-1] == {"role": "search", "same_driver": False}
    assert not coordinator._ends._starved(LANE)


def test_coordinator_uses_what_its_shell_gives_it(bench: Bench) -> None:
    bench.begin(sweep(plain(stack=8, trials=12)))
    epoch = bench.ledger.raise_epoch(bench.sweep_id, bench.token)
    coordinator = Coordinator(
        bench.ledger, bench.sweep_id, epoch=epoch, lanes=3, clock=bench.clock, steady=bench.clock,
        starved=lambda process: process.pid == LANE.pid, structure_of=lambda of, params: f"of {of.name}",
    )  # fmt: skip
    coordinator.register_lane(LANE)
    work = pull(coordinator)
    assert work.structure == "of noop"
    asked = StackRequest(family="noop", structure="of noop", holding=frozenset({work.attempt}), limit=9)
    assert len(coordinator.refill_stack(LANE, asked).attempts) == 3  # a third of twelve in all
    coordinator.tick(alive=lambda lane: lane.pid != LANE.pid)
    assert {one["outcome"] for one in told(bench, "attempt-ended")} == {"out-of-memory"}
