"""Lanes that spoil what they train are replaced, and their nodes left out; stepped by hand."""

from __future__ import annotations

import errno
import math
from dataclasses import replace

import pytest

from infra.coordinator.core import Coordinator
from infra.coordinator.lane_health import MOST_IN_A_ROW, MOST_SPOILT, choose_left_out
from infra.coordinator.messages import Assignment, AttemptResult, EpochReport, LaneHandshake, LaneWork
from infra.coordinator.placement import Node
from infra.coordinator.process_faults import ProcessFault, find_process_fault
from infra.coordinator.trial_table import stack_limit
from infra.ledger import views
from infra.ledger.rows import TrialRow
from tests.infra.conftest import GOAL, Bench, drive, family, hello, run_attempt, sweep


def failed(assignment: Assignment, reason: str = "error", fault: ProcessFault | None = None) -> AttemptResult:
    return AttemptResult(
        attempt=assignment.attempt, outcome="failed", reason=reason, detail="boom", fault=fault
    )


def trials_of(bench: Bench) -> list[TrialRow]:
    return views.trials(bench.ledger, bench.sweep_id)


def fail_in_a_row(
    coordinator: Coordinator, lane: LaneHandshake, times: int, reason: str = "error"
) -> list[int]:
    """A lane fails so many trials; their numbers."""
    work, numbers = coordinator.next_attempts(lane), []
    for _ in range(times):
        (assignment,) = work.attempts
        numbers.append(assignment.number)
        work = coordinator.next_attempts(lane, ended=failed(assignment, reason))
    return numbers


def begin(bench: Bench, successes: int, *lanes: LaneHandshake) -> Coordinator:
    """A sweep of thirty trials, of which a good lane has made some."""
    coordinator = bench.begin(sweep(family(trials=30, pruner={"name": "none"}, sampler={"name": "random"})))
    for lane in lanes:
        coordinator.register_lane(lane)
    good = hello("good-0", 1)
    coordinator.register_lane(good)
    for _ in range(successes):
        ended = run_attempt(coordinator, coordinator.next_attempts(good), good)
        coordinator.next_attempts(good, ended=ended, limit=0)
    return coordinator


def test_lane_that_fails_what_others_train_is_replaced_and_nothing_is_charged(bench: Bench) -> None:
    bad = hello("bad-0", 2)
    coordinator = begin(bench, 4, bad)
    numbers = fail_in_a_row(coordinator, bad, MOST_IN_A_ROW)
    assert coordinator.next_attempts(bad).fenced
    assert [lane.pid for lane in coordinator.take_lost_lanes()] == [2]
    found = {trial.number: trial for trial in trials_of(bench)}
    assert {(found[n].state, found[n].failures, found[n].reason) for n in numbers} == {("waiting", 0, None)}
    assert coordinator.sick.count_by_node() == {"h": 1}
    drive(coordinator, hello("bad-0", 3))  # in the same slot
    assert {trial.state for trial in trials_of(bench)} == {"complete"}


def test_lane_is_judged_when_others_have_shown_that_the_family_works(bench: Bench) -> None:
    """A lane that fails within seconds is long ahead of those that train."""
    bad, good = hello("bad-0", 2), hello("good-0", 1)
    coordinator = begin(bench, 0, bad, good)
    under_way = coordinator.next_attempts(good)
    numbers = fail_in_a_row(coordinator, bad, 6)
    assert not coordinator.next_attempts(bad).attempts  # its family does not work, as far as anybody knows
    for _ in range(2):
        ended = run_attempt(coordinator, under_way, good)
        under_way = coordinator.next_attempts(good, ended=ended)
    states = {trial.number: trial.state for trial in trials_of(bench)}
    assert {states[number] for number in numbers} <= {"waiting", "running"}
    ended = run_attempt(coordinator, under_way, good)
    while not (work := coordinator.next_attempts(good, ended=ended)).leave:
        ended = run_attempt(coordinator, work, good)
    assert [trial.state for trial in trials_of(bench)] == ["complete"] * 30


@pytest.mark.parametrize("reason", ["not-finite", "out-of-memory"])
def test_configurations_that_fail_by_themselves_do_not_blame_their_lane(bench: Bench, reason: str) -> None:
    lane = hello("lane-0", 2)
    coordinator = begin(bench, 4, lane)
    fail_in_a_row(coordinator, lane, MOST_IN_A_ROW + 2, reason)
    assert not coordinator.next_attempts(lane).fenced
    assert [t.state for t in trials_of(bench)].count("failed") == MOST_IN_A_ROW + 2


def test_family_that_fails_on_every_lane_blames_none(bench: Bench) -> None:
    first, second = hello("lane-0", 2), hello("lane-1", 3)
    coordinator = begin(bench, 4, first, second)
    fail_in_a_row(coordinator, first, MOST_IN_A_ROW - 1)
    fail_in_a_row(coordinator, second, MOST_IN_A_ROW)
    assert not coordinator.next_attempts(second).fenced
    assert coordinator.sick.count_by_node() == {}


def test_only_lane_is_never_judged_by_itself(bench: Bench) -> None:
    lane = hello("good-0", 1)
    coordinator = begin(bench, 4)
    fail_in_a_row(coordinator, lane, MOST_IN_A_ROW + 1)
    assert not coordinator.next_attempts(lane).fenced


def test_trial_is_given_again_for_a_sick_lane_only_so_often(bench: Bench) -> None:
    """Whether it is the trial that spoils its lanes shows by then."""
    coordinator = begin(bench, 4)
    for pid in range(10, 10 + MOST_SPOILT + 1):
        lane = hello("lane-0", pid)
        coordinator.register_lane(lane)
        (assignment,) = coordinator.next_attempts(lane).attempts
        assert (assignment.number, assignment.ordinal) == (4, pid - 9)
        coordinator.report_attempt_failure(failed(assignment, fault=ProcessFault.DEVICE))
        coordinator.report_attempt_failure(failed(assignment, fault=ProcessFault.DEVICE))  # twice
    trial = trials_of(bench)[4]
    assert (trial.state, trial.attempts, trial.reason) == ("failed", MOST_SPOILT + 1, "error: boom")
    assert coordinator.sick.count_by_node() == {"h": MOST_SPOILT}
    outcomes = [a.outcome for a in views.attempts(bench.ledger, bench.sweep_id, "noop", 4)]
    assert outcomes == ["lane-sick"] * MOST_SPOILT + ["error"]


def test_spoilt_process_takes_all_members_of_its_stack_along_uncharged(bench: Bench) -> None:
    lane = hello()
    coordinator = begin(bench, 0, lane)
    (first,) = coordinator.next_attempts(lane).attempts
    coordinator.prefetch_trials()
    coordinator._attempts.start(trials_of(bench)[1], lane, "second")
    coordinator.report_attempt_failure(failed(first, fault=ProcessFault.DISK))
    assert coordinator.running == 0
    assert {trial.failures for trial in trials_of(bench)} == {0}
    assert coordinator.heartbeat(lane, first.attempt).fenced


def test_lanes_of_a_node_that_is_left_out_end_what_they_train_and_leave(bench: Bench) -> None:
    here, there = (
        replace(hello(name, pid), facts={"node": node})
        for name, pid, node in (("a", 1, "n1"), ("b", 2, "n2"))
    )
    coordinator = begin(bench, 0, here, there)
    work = coordinator.next_attempts(here)
    coordinator.sick.leave_out(["n1"])
    assert coordinator.next_attempts(here) == work  # the answer was lost on its way
    assert coordinator.next_attempts(here, ended=run_attempt(coordinator, work, here)).leave
    assert trials_of(bench)[0].state == "complete"
    assert coordinator.next_attempts(there).attempts


def test_lanes_of_a_node_that_leaves_write_checkpoints_and_others_go_on_uncharged(bench: Bench) -> None:
    here, there = (
        replace(hello(name, pid), facts={"node": node})
        for name, pid, node in (("a", 1, "n1"), ("b", 2, "n2"))
    )
    coordinator = begin(bench, 0, here, there)
    (mine,) = coordinator.next_attempts(here).attempts
    (other,) = coordinator.next_attempts(there).attempts
    coordinator.sick.evacuate(["n1"])
    coordinator.sick.evacuate(["n3"])  # and is not forgotten with the next
    assert coordinator.heartbeat(here, mine.attempt).stop
    assert not coordinator.heartbeat(there, other.attempt).stop
    stopped = AttemptResult(attempt=mine.attempt, outcome="stopped")
    assert coordinator.next_attempts(here, ended=stopped).leave
    work = coordinator.next_attempts(
        there, ended=run_attempt(coordinator, LaneWork(attempts=(other,)), there)
    )
    (again,) = work.attempts
    assert (again.number, again.ordinal, again.resumes) == (mine.number, 2, True)
    trial = trials_of(bench)[mine.number]
    (first, _) = views.attempts(bench.ledger, bench.sweep_id, "noop", mine.number)
    assert (trial.failures, first.outcome) == (0, "node-left")


def test_lane_of_ranks_leaves_whichever_rank_s_node_does(bench: Bench) -> None:
    lane = replace(hello(), facts={"node": "n1", "nodes": ["n1", "n2"]})
    coordinator = begin(bench, 0, lane)
    (mine,) = coordinator.next_attempts(lane).attempts
    coordinator.sick.evacuate(["n3"])
    assert not coordinator.heartbeat(lane, mine.attempt).stop
    coordinator.sick.evacuate(["n2"])
    assert coordinator.heartbeat(lane, mine.attempt).stop


@pytest.mark.parametrize("members", [1, 2])
def test_lane_that_dies_with_a_node_that_leaves_charges_nobody(bench: Bench, members: int) -> None:
    """What could not be told to stop in time; of a stack each goes on in one as large as before."""
    lane = replace(hello(), facts={"node": "n1"})
    coordinator = begin(bench, 0, lane)
    coordinator.next_attempts(lane)
    coordinator.prefetch_trials()
    if members == 2:
        coordinator._attempts.start(trials_of(bench)[1], lane, "second")
    coordinator.sick.evacuate(["n1"])
    coordinator.tick(alive=lambda process: process != lane)
    assert coordinator.running == 0
    found = trials_of(bench)[:members]
    assert {(trial.state, trial.failures) for trial in found} == {("waiting", 0)}
    assert {stack_limit(trial) for trial in found} == {math.inf}


def test_lanes_of_a_run_that_is_given_back_end_what_they_train_and_leave(bench: Bench) -> None:
    ours, theirs = hello("run-1-0", 1), hello("run-2-0", 2)
    coordinator = begin(bench, 0, ours, theirs)
    work = coordinator.next_attempts(ours)
    coordinator.sick.dismiss(["run-1"])
    assert coordinator.next_attempts(ours, ended=run_attempt(coordinator, work, ours)).leave
    assert trials_of(bench)[0].state == "complete"
    assert coordinator.next_attempts(theirs).attempts


def test_another_driver_begins_without_the_former_ones_suspicions(bench: Bench) -> None:
    lane = hello("lane-0", 9)
    coordinator = begin(bench, 4, lane)
    fail_in_a_row(coordinator, lane, MOST_IN_A_ROW)
    assert bench.take_over(same_driver=True).sick.count_by_node() == {"h": 1}
    assert bench.take_over(token="another").sick.count_by_node() == {}


@pytest.mark.parametrize(
    ("sick", "out"),
    [({}, set()), ({"a": 1}, set()), ({"a": 2}, {"a"}), ({"a": 5, "b": 2}, set()), ({"gone": 2}, set())],
)
def test_node_of_two_sick_lanes_is_left_out_unless_none_would_be_left(
    sick: dict[str, int], out: set[str]
) -> None:
    nodes = [Node(name="a", cpus=1.0), Node(name="b", cpus=1.0)]
    assert choose_left_out(nodes, sick) == out
    assert choose_left_out(nodes[:1], sick) == set()


def test_sick_lane_is_told_of_with_its_node_and_the_trials_that_wait_for_it(bench: Bench) -> None:
    bad = replace(hello("bad-0", 2), facts={"node": "n1"})
    coordinator = begin(bench, 4, bad)
    numbers = fail_in_a_row(coordinator, bad, MOST_IN_A_ROW)
    why = "the last 3 trials failed on it, and others of their family succeed"
    told = {"host": "h", "why": why, "times": 1}
    (sick,) = views.events_of_kind(bench.ledger, bench.sweep_id, "lane-sick")
    assert sick.payload == {"lane": "bad-0", "node": "n1", **told}
    assert views.sweep_by_id(bench.ledger, bench.sweep_id).facts["sick_nodes"] == {"n1": told}
    again = views.events_of_kind(bench.ledger, bench.sweep_id, "retry")
    assert [(event.number, event.payload) for event in again] == [
        (number, {"lane": "bad-0", "why": why}) for number in numbers
    ]
    spoilt = {trial.number: (trial.origin or {}).get("spoilt") for trial in trials_of(bench)}
    assert {spoilt.pop(number) for number in numbers} == {1}
    assert set(spoilt.values()) == {None}


def test_nodes_sick_lanes_are_counted_each_once_and_by_node(bench: Bench) -> None:
    coordinator = begin(bench, 4)
    for pid, node in ((10, "n1"), (11, "n2"), (12, "n1")):
        lane = replace(hello("lane-0", pid), facts={"node": node})
        coordinator.register_lane(lane)
        (assignment,) = coordinator.next_attempts(lane).attempts
        origin = {"spoilt": 0}
        coordinator._attempts.running[assignment.attempt].trial.origin = origin
        coordinator.report_attempt_failure(failed(assignment, fault=ProcessFault.DISK))
        assert coordinator.sick.is_leaving(lane) is False
    assert coordinator.sick.count_by_node() == {"n1": 2, "n2": 1}
    assert [lane.pid for lane in coordinator.take_lost_lanes()] == [10, 11, 12]


def test_trials_that_the_pruner_ends_show_that_their_family_works(bench: Bench) -> None:
    bad, good = hello("bad-0", 2), hello("good-0", 1)
    spec = sweep(family(trials=30, pruner={"name": "percentile", "percentile": 0.0}))
    coordinator = bench.begin(spec)
    coordinator._studies.should_prune = lambda *_: True  # type: ignore[union-attr, method-assign]
    for lane in (bad, good):
        coordinator.register_lane(lane)
    for _ in range(2):
        (work,) = coordinator.next_attempts(good).attempts
        report = EpochReport(epoch=1, metrics={GOAL: 0.1}, at=1.0)
        assert not coordinator.decide(good, work.attempt, [report])
    fail_in_a_row(coordinator, bad, MOST_IN_A_ROW)
    assert coordinator.next_attempts(bad).fenced


def test_failure_that_another_lane_tells_of_or_that_is_over_blames_nobody(bench: Bench) -> None:
    bad, good = hello("bad-0", 2), hello("good-0", 1)
    coordinator = begin(bench, 4, bad)
    (work,) = coordinator.next_attempts(bad).attempts
    for _ in range(MOST_IN_A_ROW):
        coordinator.next_attempts(good, ended=failed(work, fault=ProcessFault.DISK), limit=0)
    assert trials_of(bench)[work.number].state == "running"
    assert coordinator.sick.count_by_node() == {}
    coordinator._roster.remove("bad-0")  # nobody holds the slot any more
    coordinator.report_attempt_failure(failed(work))
    assert trials_of(bench)[work.number].state == "failed"
    assert coordinator.sick.count_by_node() == {}


def test_error_of_a_trial_that_was_spoilt_too_often_blames_no_lane(bench: Bench) -> None:
    bad = hello("bad-0", 2)
    coordinator = begin(bench, 4, bad)
    for _ in range(MOST_IN_A_ROW + 1):
        (work,) = coordinator.next_attempts(bad).attempts
        coordinator._attempts.running[work.attempt].trial.origin = {"spoilt": MOST_SPOILT}
        coordinator.next_attempts(bad, ended=failed(work), limit=0)
    assert not coordinator.next_attempts(bad).fenced


def test_lanes_take_more_when_their_node_is_let_in_again(bench: Bench) -> None:
    lane = replace(hello("run-1-0"), facts={"node": "n1"})
    coordinator = begin(bench, 0, lane)
    taken = []
    for nodes in (["n1"], ["n2"], []):
        coordinator.sick.leave_out(nodes)
        taken.append(coordinator.sick.takes_more(lane))
    assert taken == [False, True, True]
    coordinator.sick.evacuate(["n2"])
    assert (coordinator.sick.takes_more(lane), coordinator.sick.is_leaving(lane)) == (True, False)
    coordinator.sick.evacuate(["n1"])
    assert (coordinator.sick.takes_more(lane), coordinator.sick.is_leaving(lane)) == (False, True)


def raised_from(error: Exception, *, hidden: bool) -> BaseException:
    """An error that came up while another was handled, with or without `from None`."""
    try:
        try:
            raise error
        except Exception:
            if hidden:
                raise RuntimeError("the loader failed") from None
            raise RuntimeError("the loader failed")
    except RuntimeError as raised:
        return raised


@pytest.mark.parametrize(("hidden", "fault"), [(False, ProcessFault.DISK), (True, None)])
def test_error_in_whose_handling_another_came_up_counts_unless_it_is_hidden(
    hidden: bool, fault: ProcessFault | None
) -> None:
    assert find_process_fault(raised_from(OSError(errno.ENOSPC, "full"), hidden=hidden)) is fault


def caused_by(cause: BaseException) -> RuntimeError:
    error = RuntimeError("the loader failed")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (RuntimeError("CUDA error: device-side assert triggered\nCUDA kernel errors"), ProcessFault.DEVICE),
        (RuntimeError("CUDA error: uncorrectable ECC error encountered"), ProcessFault.DEVICE),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), ProcessFault.DEVICE),
        (RuntimeError("CUDA error: invalid argument"), None),
        (RuntimeError("CUDA out of memory. Tried to allocate"), None),
        (OSError(errno.ENOSPC, "No space left on device", "/tmp/x"), ProcessFault.DISK),
        (OSError(errno.ESTALE, "Stale file handle"), ProcessFault.MOUNT),
        (caused_by(OSError(errno.EIO, "Input/output error")), ProcessFault.MOUNT),
        (FileNotFoundError(errno.ENOENT, "No such file", "train.csv"), None),
        (OSError("no number"), None),
        (PermissionError(errno.EPERM, "not allowed"), None),
        (caused_by(caused_by(OSError(errno.EIO, "Input/output error"))), ProcessFault.MOUNT),
        (
            ImportError("cannot import name 'x' from partially initialized module 'torch.nn'"),
            ProcessFault.IMPORTS,
        ),
        (
            AttributeError("partially initialized module 'torch._inductor' has no attribute 'config'"),
            ProcessFault.IMPORTS,
        ),
        (ImportError("cannot import name 'x' from partially initialized module 'mine.nets'"), None),
        (ModuleNotFoundError("No module named 'mine'"), None),
        (ValueError("CUDA error: device-side assert triggered"), None),
    ],
)
def test_errors_that_spoil_a_process_are_told_from_those_of_one_trial(
    error: BaseException, fault: ProcessFault | None
) -> None:
    assert find_process_fault(error) is fault
