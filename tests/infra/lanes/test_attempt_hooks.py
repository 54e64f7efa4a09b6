"""What an attempt says to its coordinator, and what it may write: with a line that answers on cue."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from infra.coordinator.messages import Assignment, EpochReport, HeartbeatReply
from infra.lanes.attempt_hooks import AttemptHooks
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


def make_hooks(
    folder: Path, line: object, attempt: str = "a", deciding: tuple[int, ...] = ()
) -> AttemptHooks:
    asked = Assignment(
        attempt=attempt, role="search", family="noop", number=0, ordinal=1, params={}, seed=1,
        deciding=deciding,
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
