"""What the members of a stack say together: one heartbeat, one log each. Knows nothing of Ray."""

from __future__ import annotations

import io
from collections.abc import Collection
from pathlib import Path

from infra.lanes.attempt_hooks import AttemptHooks
from infra.lanes.channel import StackChannel


class StackHooks:
    """The hooks of all members that are under way. The heartbeat's thread looks at them too."""

    def __init__(self, line: StackChannel) -> None:
        """Nobody is in yet."""
        self._line = line
        self._members: tuple[AttemptHooks, ...] = ()  # replaced, never changed: two threads read it
        self._past = 0

    @property
    def steps(self) -> int:
        """A number that changes with each step of any member."""
        return self._past + sum(hooks.steps for hooks in self._members)

    @property
    def first(self) -> AttemptHooks | None:
        """The member that came first."""
        return next(iter(self._members), None)

    def enter(self, hooks: AttemptHooks) -> None:
        """A member begins."""
        self._members = (*self._members, hooks)

    def leave(self, hooks: AttemptHooks) -> None:
        """A member has ended."""
        self._past += hooks.steps + 1
        self._members = tuple(one for one in self._members if one is not hooks)

    def note_step(self) -> None:
        """Something was done that is no member's step."""
        self._past += 1

    def send_heartbeat(self) -> None:
        """One heartbeat with all that the members hold."""
        members = self._members
        sent = {hooks.assignment.attempt: hooks.copy_held() for hooks in members}
        reply = self._line.heartbeat_stack(sent)
        for hooks in members:
            attempt = hooks.assignment.attempt
            hooks.mark_delivered(sent[attempt])
            hooks.note_reply(stop=reply.stop, void=attempt in reply.void)


class MemberLogs(io.TextIOBase):
    """What a stack prints goes into the log of each member that is under way."""

    def __init__(self) -> None:
        """Nobody is in yet."""
        self.paths: Collection[Path] = ()

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, text: str) -> int:
        """Appends to every member's log."""
        for path in self.paths:
            with path.open("a", encoding="utf-8", errors="replace") as log:
                log.write(text)
        return len(text)
