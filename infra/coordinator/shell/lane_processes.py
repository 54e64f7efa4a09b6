"""The processes of lanes, as the coordinator's own process knows them: alive, out of memory, to be ended."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any, TypeAlias

import ray

from infra.coordinator.messages import LaneHandshake
from infra.coordinator.shell.oom_kills import KernelOomKills, is_oom_killed_by_ray
from infra.ledger.liveness import process_started_at
from trainers.storage.machine import is_on_this_machine

if TYPE_CHECKING:
    from ray.actor import ActorHandle

AnyHandle: TypeAlias = "ActorHandle[Any]"  # of a lane or of a run's controller


class LaneProcesses:
    """Those on this machine by the system's own table, others by Ray."""

    def __init__(self) -> None:
        """Knows none yet."""
        self._handles: dict[str, AnyHandle | None] = {}
        self._kernel_kills = KernelOomKills()

    def register(self, hello: LaneHandshake, handle: AnyHandle | None) -> None:
        """A lane's process is there; `handle` is its actor, to end it if it stops answering."""
        self._handles[hello.lane] = handle

    def look_for_kills(self) -> None:
        """To be asked often: what the kernel ended is recent only then."""
        self._kernel_kills.has_recent()

    def is_alive(self, hello: LaneHandshake) -> bool:
        """Whether it is known to exist; True where that cannot be seen from here."""
        return not _is_here(hello) or process_started_at(hello.pid) == hello.pid_started_at

    def is_oom_killed(self, hello: LaneHandshake) -> bool:
        """Whether one that is gone was ended because memory ran out."""
        actor = str(hello.facts.get("actor", ""))
        return (_is_here(hello) and self._kernel_kills.has_recent()) or is_oom_killed_by_ray(actor)

    def end(self, hello: LaneHandshake) -> None:
        """Ends it, wherever it is."""
        if _is_here(hello) and process_started_at(hello.pid) == hello.pid_started_at:
            os.kill(hello.pid, signal.SIGKILL)
        elif (handle := self._handles.get(hello.lane)) is not None:
            ray.kill(handle)


def _is_here(hello: LaneHandshake) -> bool:
    return is_on_this_machine(hello.machine, hello.host)
