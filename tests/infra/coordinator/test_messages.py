"""What a message says that says nothing of a thing: readers and senders of several versions agree on it."""

from __future__ import annotations

from infra.coordinator.messages import (
    Assignment,
    AttemptResult,
    HeartbeatReply,
    LaneWork,
    StackHeartbeatReply,
)
from infra.coordinator.run_requests import KnownRuns, RunAnswer, RunRequests
from infra.coordinator.shell.status import CoordinatorStatus


def test_bare_assignment_keeps_its_model_and_is_alone_and_fresh() -> None:
    bare = Assignment(attempt="a", role="search", family="f", number=0, ordinal=1, params={}, seed=0)
    assert (bare.keep, bare.keep_above, bare.deciding, bare.read_test) == (True, None, (), False)
    assert (bare.resumes, bare.earlier, bare.earlier_seconds, bare.pauses) == (False, {}, 0.0, False)
    assert (bare.structure, bare.stack_limit, bare.companions) == (None, None, 1)


def test_bare_result_has_reported_nothing() -> None:
    bare = AttemptResult(attempt="a", outcome="stopped")
    assert (bare.epoch, bare.epochs, bare.seconds, bare.objective, bare.fault) == (0, 0, 0.0, (), None)


def test_bare_answers_neither_stop_nor_fence_nor_void() -> None:
    work = LaneWork()
    assert (work.attempts, work.wait_s, work.leave, work.fenced) == ((), 0.0, False, False)
    one, several = HeartbeatReply(), StackHeartbeatReply()
    assert (one.void, one.stop, one.fenced) == (False, False, False)
    assert (several.void, several.stop, several.fenced) == (frozenset(), False, False)


def test_bare_status_is_a_sweep_that_runs_without_lanes() -> None:
    bare = CoordinatorStatus()
    assert (bare.state, bare.lanes, bare.running, bare.planned) == ("running", 0, 0, 0)


def test_run_is_waited_for_until_it_is_known() -> None:
    requests, one, other = RunRequests("uri"), ("search", "f", 0), ("search", "f", 1)
    assert requests.find(one, wanted=False) == RunAnswer(uri="uri", run_id=None, away=False)
    assert requests.wanted_trials == ()
    requests.find(one, wanted=True)
    requests.find(other, wanted=True)
    requests.find(one, wanted=True)
    assert requests.wanted_trials == (one, other)
    requests.answer(KnownRuns(runs={one: "r"}))
    assert requests.wanted_trials == (other,)
    assert requests.find(one, wanted=True) == RunAnswer(uri="uri", run_id="r")
    assert requests.wanted_trials == (other,)


def test_run_asked_for_while_tracking_is_away_is_not_waited_for() -> None:
    requests, one = RunRequests("uri"), ("search", "f", 0)
    requests.find(one, wanted=True)
    requests.answer(KnownRuns(away=True))
    assert requests.wanted_trials == ()
    assert requests.find(one, wanted=False) == RunAnswer(uri="uri", away=True)
    requests.answer(KnownRuns(runs={one: "r"}))
    assert requests.find(one, wanted=False) == RunAnswer(uri="uri", run_id="r", away=False)
