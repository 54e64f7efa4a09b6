"""A lane whose coordinator lives beside it: until it is to leave it is a lane like others."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NoReturn

import pytest

from infra.coordinator.messages import AttemptResult, EpochReport, LaneHandshake, LaneWork, StackRequest
from infra.errors import LedgerUnavailable
from infra.head_start import local_line
from infra.head_start.local_line import GRACE_S, LocalLine
from infra.ledger import views
from infra.ledger.store import Ledger
from tests.faults.harness import until
from tests.infra.conftest import GOAL, Bench, Clock, family, hello, run_attempt, sweep

TRIALS = 4


class ProcessEnded(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def steady() -> Clock:
    return Clock()


@pytest.fixture
def line(bench: Bench, steady: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalLine:
    """A lane that is in, of a sweep of four trials."""

    def end_process(status: int, why: str) -> NoReturn:
        raise ProcessEnded(f"{status}: {why}")

    monkeypatch.setattr(local_line, "end_process", end_process)
    core = bench.begin(sweep(family(trials=TRIALS)))
    made = LocalLine(core, hello(), "sqlite:///mlflow.db", tmp_path, steady)
    made.register_lane()
    return made


def finish(line: LocalLine) -> AttemptResult:
    """The next trial, trained in no time."""
    work = line.next_attempts(None, [])
    return run_attempt(line._core, work, hello())


def test_sweep_that_ends_ahead_of_the_lanes_is_finished(line: LocalLine, bench: Bench) -> None:
    ended = None
    while not (work := line.next_attempts(ended, [])).leave:
        ended = run_attempt(line._core, work, hello())
    assert line.conclude() == "finished"
    assert [trial.has_ended for trial in views.trials(bench.ledger, bench.sweep_id)] == [True] * TRIALS


def test_lane_that_is_to_leave_brings_its_trial_to_an_end_and_takes_no_other(
    line: LocalLine, bench: Bench
) -> None:
    ended = finish(line)
    line.leave()
    work = line.next_attempts(ended, [])
    assert work.leave
    assert not work.attempts
    assert line.conclude() == "running"
    first, *others = views.trials(bench.ledger, bench.sweep_id)
    assert first.state == "complete"
    assert {trial.state for trial in others} <= {"waiting"}
    assert views.sweep_by_id(bench.ledger, bench.sweep_id).state == "running"


def test_trial_that_lasts_is_stopped_after_the_grace_and_waits_for_a_lane(
    line: LocalLine, bench: Bench, steady: Clock
) -> None:
    (assignment,) = line.next_attempts(None, []).attempts
    report = EpochReport(epoch=1, metrics={GOAL: 0.5}, at=bench.clock())
    assert not line.heartbeat(assignment.attempt, [report]).stop
    line.leave()
    steady.now += GRACE_S
    assert not line.heartbeat(assignment.attempt, []).stop
    line.leave()  # said again, it begins no new grace
    steady.now += 0.1
    assert line.heartbeat(assignment.attempt, []).stop
    assert line.heartbeat_stack({assignment.attempt: []}).stop
    stopped = AttemptResult(attempt=assignment.attempt, outcome="stopped", epochs=1)
    assert line.next_attempts(stopped, []).leave
    assert line.conclude() == "running"
    (trial,) = [one for one in views.trials(bench.ledger, bench.sweep_id) if one.attempts]
    assert (trial.state, trial.failures, trial.epochs) == ("waiting", 0, 1)


def test_stack_that_is_to_leave_is_given_no_more(line: LocalLine, monkeypatch: pytest.MonkeyPatch) -> None:
    request, asked = StackRequest(family="noop", structure="s", holding=frozenset(), limit=4), list[int]()

    def refill(_hello: LaneHandshake, given: StackRequest, **_: object) -> LaneWork:
        asked.append(given.limit)
        return LaneWork()

    monkeypatch.setattr(line._core, "refill_stack", refill)
    line.refill_stack(request, [], {})
    line.leave()
    line.refill_stack(request, [], {})
    assert asked == [4, 0]


def test_stop_by_the_driver_and_by_another_command_ends_the_sweep_here(line: LocalLine, bench: Bench) -> None:
    (assignment,) = line.next_attempts(None, []).attempts
    line.stop("signal SIGINT")
    assert line.heartbeat(assignment.attempt, []).stop
    assert line.next_attempts(AttemptResult(attempt=assignment.attempt, outcome="stopped"), []).leave
    assert line.conclude() == "stopped"
    assert views.sweep_by_id(bench.ledger, bench.sweep_id).state == "stopped"


def test_time_that_was_used_is_handed_over(line: LocalLine, bench: Bench) -> None:
    (assignment,) = line.next_attempts(None, []).attempts
    bench.clock.now += 3.0
    line.leave()
    line.next_attempts(AttemptResult(attempt=assignment.attempt, outcome="stopped"), [])
    line.conclude()
    spent = views.sweep_by_id(bench.ledger, bench.sweep_id).facts["spent"]
    assert spent["elapsed_s"] == pytest.approx(3.0)


def test_ledger_that_takes_nothing_ends_the_process(line: LocalLine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is ahead of it then: whoever reads it next goes on from what is there."""

    def refuse(*_: object) -> None:
        raise LedgerUnavailable("the ledger must take writes", "told to")

    monkeypatch.setattr(Ledger, "commit", refuse)
    with pytest.raises(ProcessEnded, match=r"77: .*told to"):
        line.next_attempts(None, [])


def test_clock_asks_ahead_ticks_and_removes_what_nobody_needs(
    line: LocalLine, bench: Bench, tmp_path: Path
) -> None:
    folder = tmp_path / "beaten" / "model"
    folder.mkdir(parents=True)
    bench.ledger.add_request(bench.sweep_id, "stop", {}, at=0.0)
    line._core._attempts.conclusions.dropped_folders.append("beaten")
    line._steady = time.monotonic
    line.next_attempts(None, [])
    line.start_clock()
    try:
        until(lambda: not folder.parent.exists(), 10)
        until(lambda: line._core.stopping is not None, 10)
        until(lambda: len(views.trials(bench.ledger, bench.sweep_id)) == 2, 10)
    finally:
        line.conclude()
