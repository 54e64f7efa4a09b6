"""What an attempt says to its coordinator, and what it may write: with a line that answers on cue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from infra.coordinator.messages import Assignment, EpochReport, HeartbeatReply
from infra.errors import StorageUnavailable
from infra.lanes.attempt_hooks import AttemptHooks, FollowerHooks
from infra.storage.checkpoints import CheckpointStore
from tests.infra.conftest import Bench, family, hello, sweep

TENSORS = {"weight": torch.zeros(2)}


class Line:
    """Answers as told and keeps what it heard."""

    def __init__(self, reply: HeartbeatReply) -> None:
        self.reply, self.heard = reply, list[int]()

    def decide(self, attempt: str, reports: list[EpochReport]) -> bool:
        self.heard += [report.epoch for report in reports]
        return True

    def heartbeat(self, attempt: str | None, reports: list[EpochReport]) -> HeartbeatReply:
        self.heard += [report.epoch for report in reports]
        return self.reply


def make_hooks(folder: Path, line: object, attempt: str = "a", **asked_for: Any) -> AttemptHooks:
    asked = Assignment(
        attempt=attempt, role="search", family="noop", number=0, ordinal=1, params={}, seed=1, **asked_for
    )  # fmt: skip
    return AttemptHooks(asked, line, CheckpointStore(folder))  # type: ignore[arg-type]


@pytest.mark.parametrize(("void", "saved"), [(False, True), (True, False)])
def test_checkpoint_of_a_void_attempt_is_not_written(tmp_path: Path, void: bool, saved: bool) -> None:
    """Its reports were refused: the next attempt would skip epochs that nobody knows."""
    line = Line(HeartbeatReply(void=void))
    hooks = make_hooks(tmp_path, line)
    hooks.report(1, {"val/accuracy": 0.5})
    assert line.heard == []
    hooks.save(TENSORS, {"epoch": 1})
    assert line.heard == [1]  # told before anything lets an attempt skip it
    assert (CheckpointStore(tmp_path).load() is not None) is saved


def test_checkpoint_after_a_concluded_stop_covers_no_refused_report(tmp_path: Path, bench: Bench) -> None:
    """An epoch that outlasts the stop: the lane lives on for a moment, and its trial waits already."""
    coordinator = bench.begin(sweep(family(trials=1, pruner={"name": "none"})))
    coordinator.register_lane(hello())
    (assignment,) = coordinator.next_attempts(hello()).attempts

    class Direct:
        def heartbeat(self, attempt: str | None, reports: list[EpochReport]) -> HeartbeatReply:
            return coordinator.heartbeat(hello(), attempt, reports)

    hooks = make_hooks(tmp_path, Direct(), assignment.attempt)
    hooks.report(1, {"val/accuracy": 0.5})
    hooks.save(TENSORS, {"epoch": 1})
    hooks.report(2, {"val/accuracy": 0.9})
    coordinator.stop("told to")
    coordinator.conclude_stop()
    hooks.save(TENSORS, {"epoch": 2})
    left = CheckpointStore(tmp_path).load()
    assert left is not None
    assert left.document == {"epoch": 1}


def test_held_report_travels_by_heartbeat_and_is_judged_when_asked(tmp_path: Path) -> None:
    decided: list[list[int]] = []

    class Judging(Line):
        def decide(self, attempt: str, reports: list[EpochReport]) -> bool:
            decided.append([report.epoch for report in reports])
            return False

    line = Judging(HeartbeatReply())
    hooks = make_hooks(tmp_path, line, deciding=(2,))
    hooks.hold(1, {"val/accuracy": 0.5})
    assert hooks.judge()  # no rung: nobody is asked
    hooks.hold(2, {"val/accuracy": 0.5})
    hooks.send_heartbeat()
    assert (line.heard, decided) == ([1, 2], [])
    assert not hooks.judge()
    assert hooks.judge()  # once
    assert (decided, hooks.take_undelivered()) == ([[2]], [])


class Answering(Line):
    """Says of each deciding report what it was told to say."""

    def __init__(self, go: bool = True, reply: HeartbeatReply | None = None) -> None:
        super().__init__(reply or HeartbeatReply())
        self.go, self.asked = go, list[list[int]]()

    def decide(self, attempt: str, reports: list[EpochReport]) -> bool:
        self.asked.append([report.epoch for report in reports])
        return self.go


@pytest.mark.parametrize(
    ("epochs", "deciding", "asked"),
    [
        ([1, 2, 3], (2,), [[1, 2]]),
        ([1, 4], (2,), [[1, 4]]),  # own code may skip a rung: the next report decides
        ([1, 4], (4,), [[1, 4]]),
        ([1, 4], (1,), [[1]]),
        ([2, 4], (1,), [[2]]),
        ([1, 4], (5,), []),
        ([1, 2, 3], (), []),
        ([1, 2], (1, 2), [[1], [2]]),
    ],
)
def test_report_decides_where_a_rung_has_been_passed_since_the_last_one(
    tmp_path: Path, epochs: list[int], deciding: tuple[int, ...], asked: list[list[int]]
) -> None:
    line = Answering()
    hooks = make_hooks(tmp_path, line, deciding=deciding)
    assert all(hooks.report(epoch, {"val/accuracy": 0.5}) for epoch in epochs)
    assert line.asked == asked
    told = {epoch for together in asked for epoch in together}
    assert [report.epoch for report in hooks.take_undelivered()] == [e for e in epochs if e not in told]
    assert hooks.take_undelivered() == []


@pytest.mark.parametrize(
    ("go", "pauses", "void", "on", "stop"),
    [
        (True, False, False, True, False),
        (False, False, False, False, False),
        (False, True, False, True, True),  # it is paused: it writes a checkpoint and leaves
        (True, True, False, True, False),
        (True, False, True, False, True),
        (False, True, True, False, True),
    ],
)
def test_judgement_ends_pauses_or_lets_an_attempt_go_on(
    tmp_path: Path, go: bool, pauses: bool, void: bool, on: bool, stop: bool
) -> None:
    hooks = make_hooks(tmp_path, Answering(go), deciding=(1,), pauses=pauses)
    hooks.note_reply(stop=False, void=void)
    assert hooks.report(1, {"val/accuracy": 0.5}) is on
    assert hooks.stopping() is stop


def test_fresh_attempt_neither_stops_nor_is_void_and_is_told_of_both_for_good(tmp_path: Path) -> None:
    hooks = make_hooks(tmp_path, Answering())
    assert (hooks.stop, hooks.void, hooks.stopping()) == (False, False, False)
    hooks.note_reply(stop=True, void=False)
    hooks.note_reply(stop=False, void=False)
    assert (hooks.stop, hooks.void, hooks.stopping()) == (True, False, True)
    assert hooks.report(1, {"val/accuracy": 0.5})
    hooks.note_reply(stop=False, void=True)
    hooks.note_reply(stop=False, void=False)
    assert (hooks.stop, hooks.void) == (True, True)
    assert not hooks.report(2, {"val/accuracy": 0.5})


def test_report_that_came_while_a_heartbeat_was_under_way_is_still_held(tmp_path: Path) -> None:
    hooks = make_hooks(tmp_path, Answering())
    hooks.hold(1, {"val/accuracy": 0.5})
    sent = hooks.copy_held()
    hooks.hold(2, {"val/accuracy": 0.5})
    hooks.mark_delivered(sent)
    assert [report.epoch for report in hooks.copy_held()] == [2]
    hooks.mark_delivered(sent)  # another message was faster: nothing more is let go of
    assert [report.epoch for report in hooks.copy_held()] == [2]


def test_report_or_sign_of_life_is_a_step(tmp_path: Path) -> None:
    hooks, seen = make_hooks(tmp_path, Answering()), list[int]()
    seen.append(hooks.steps)
    hooks.alive(1)
    seen.append(hooks.steps)
    hooks.hold(1, {"val/accuracy": 0.5})
    seen.append(hooks.steps)
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("resumes", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_checkpoint_is_read_only_where_there_may_be_one_of_the_trial(
    tmp_path: Path, resumes: bool, first: bool
) -> None:
    CheckpointStore(tmp_path).save(TENSORS, {"epoch": 1})
    asked = make_hooks(tmp_path, Answering(), resumes=resumes)
    hooks = asked if first else FollowerHooks(asked.assignment, CheckpointStore(tmp_path))
    found = hooks.load()
    assert (None if found is None else found[1]) == ({"epoch": 1} if resumes else None)
    empty = make_hooks(tmp_path / "empty", Answering(), resumes=True)
    assert empty.load() is None
    assert FollowerHooks(empty.assignment, CheckpointStore(tmp_path / "empty")).load() is None


def test_rank_above_0_reports_and_decides_nothing_and_shows_progress(tmp_path: Path) -> None:
    hooks = FollowerHooks(make_hooks(tmp_path, Answering()).assignment, CheckpointStore(tmp_path))
    assert hooks.steps == 0
    hooks.alive(1)
    assert hooks.steps == 1
    assert hooks.report(1, {})
    assert not hooks.stopping()
    hooks.save(TENSORS, {})
    assert CheckpointStore(tmp_path).load() is None


def test_storage_that_takes_nothing_ends_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise StorageUnavailable("the storage must take files", "told to")

    hooks = make_hooks(tmp_path, Answering())
    monkeypatch.setattr(CheckpointStore, "save", refuse)
    hooks.save(TENSORS, {"epoch": 1})
    assert "training goes on" in caplog.text
