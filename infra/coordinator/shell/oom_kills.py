"""Whether a process was ended because memory ran out: by Ray's monitor, or by the kernel."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

RECENT_S = 10.0


def is_oom_killed_by_ray(actor_id: str) -> bool:
    """Whether Ray ended the process of this actor since its node ran out of memory.

    Asked of Ray's table of actors: a coordinator that was started anew has no handle of the lane any more,
    and Ray's monitor ends it, as an actor that can be started again, together with the one at fault.
    """
    import ray._private.state
    from ray.exceptions import RayError

    if not actor_id:
        return False
    try:
        known = ray._private.state.actors(actor_id)
    except (RayError, RuntimeError):  # the head is away
        return False
    return bool(known) and bool(known["DeathCause"].HasField("oom_context"))


class KernelOomKills:
    """Whether the kernel ended processes of this one's memory cgroup of late.

    It counts before the process is gone, which takes a while where there is much memory to give back.
    """

    def __init__(self, root: Path = Path("/"), clock: Callable[[], float] = time.monotonic) -> None:
        """Counts from now on.

        Args:
            root: of the file system.
            clock: seconds, from anywhere.
        """
        self._root, self._clock = root, clock
        self._seen = self._read_count()
        self._at = -math.inf

    def has_recent(self) -> bool:
        """Whether the count rose within the last seconds; to be asked often enough to see when it does."""
        count, now = self._read_count(), self._clock()
        if count > self._seen:
            self._at = now
        self._seen = count
        return now - self._at < RECENT_S

    def _read_count(self) -> int:
        for path in self._event_files():
            try:
                lines = path.read_text().splitlines()
            except OSError:  # no such controller here, or one that may not be read
                continue
            counts = [int(line.split()[1]) for line in lines if line.startswith("oom_kill ")]
            if counts:
                return counts[0]
        return 0

    def _event_files(self) -> Sequence[Path]:
        """Where the count may be: the cgroup of version 2, of version 1, the same seen from a container."""
        cgroups, found = self._root / "sys/fs/cgroup", list[Path]()
        try:
            lines = (self._root / "proc/self/cgroup").read_text().splitlines()
        except OSError:  # not Linux
            return []
        for line in lines:
            _, controllers, path = line.split(":", 2)
            below = path.strip("/")
            if "memory" in controllers.split(","):
                found += [
                    cgroups / "memory" / below / "memory.oom_control",
                    cgroups / "memory/memory.oom_control",
                ]
            elif not controllers:
                found += [cgroups / below / "memory.events", cgroups / "memory.events"]
        return found
