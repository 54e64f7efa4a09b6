"""What the hooks of a stack's members come to together."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from infra.coordinator.messages import AttemptReports, HeartbeatReply, StackHeartbeatReply
from infra.lanes.attempt_hooks import AttemptHooks
from infra.lanes.channel import StackChannel
from infra.lanes.stack_hooks import MemberLogs, StackHooks
from infra.storage.checkpoints import CheckpointStore
from tests.infra.conftest import Bench, family, hello, sweep


class StackLine:
    """Takes what is sent, and says what it was told to say."""

    def __init__(self, void: frozenset[str] = frozenset()) -> None:
        self.sent: list[AttemptReports] = []
        self.void = void

    def heartbeat_stack(self, reports: AttemptReports) -> StackHeartbeatReply:
        """As the coordinator's client."""
        self.sent.append(reports)
        return StackHeartbeatReply(void=self.void, stop=False)

    def heartbeat(self, attempt: str | None, reports: object) -> HeartbeatReply:
        """Of one member."""
        return HeartbeatReply(void=False)


def members(bench: Bench, line: StackLine, count: int) -> list[AttemptHooks]:
    """Hooks of so many attempts."""
    coordinator = bench.begin(sweep(family(trials=count)))
    made = []
    for place in range(count):
        me = hello(f"lane-{place}", pid=place + 1)
        coordinator.register_lane(me)
        (assignment,) = coordinator.next_attempts(me).attempts
        store = CheckpointStore(bench.folder / f"checkpoints-{place}")
        made.append(AttemptHooks(assignment, cast(StackChannel, line), store))
    return made


def test_steps_of_a_stack_never_come_back_to_a_former_number(bench: Bench) -> None:
    """Who looks now and then would take a stack for one that stands still."""
    line = StackLine()
    stack, (one, other) = StackHooks(cast(StackChannel, line)), members(bench, line, 2)
    assert (stack.steps, stack.first) == (0, None)
    seen = [stack.steps]
    stack.enter(one)
    stack.enter(other)
    for hooks in (one, other, one):
        hooks.alive(1)
        seen.append(stack.steps)
    stack.leave(one)
    seen.append(stack.steps)
    stack.note_step()
    seen.append(stack.steps)
    assert seen == [0, 1, 2, 3, 4, 5]  # a member that leaves is a step, too
    assert stack.first is other


def test_heartbeat_of_a_stack_delivers_what_members_hold_and_voids_those_that_are_gone(bench: Bench) -> None:
    line = StackLine()
    stack, (one, other) = StackHooks(cast(StackChannel, line)), members(bench, line, 2)
    line.void = frozenset({other.assignment.attempt})
    stack.enter(one)
    stack.enter(other)
    one.hold(3, {"val/accuracy": 0.5})
    stack.send_heartbeat()
    (sent,) = line.sent
    assert [report.epoch for report in sent[one.assignment.attempt]] == [3]
    assert one.copy_held() == []
    assert (one.void, other.void) == (False, True)


def test_output_of_a_stack_is_in_each_members_log(tmp_path: Path) -> None:
    logs = MemberLogs()
    assert logs.write("nobody is in\n") == len("nobody is in\n")
    logs.paths = (tmp_path / "a.log", tmp_path / "b.log")
    print("ä", file=logs)
    assert [path.read_text(encoding="utf-8") for path in logs.paths] == ["ä\n", "ä\n"]


def test_log_of_a_stack_can_be_written_to() -> None:
    assert MemberLogs().writable()
