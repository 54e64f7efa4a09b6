"""Whether a process was ended because memory ran out: by Ray's monitor, or by the kernel."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ASK_LIMIT_S = 2.0
RECENT_S = 10.0


def ended_by_ray_for_memory(handle: Any) -> bool:
    """Whether Ray ended this actor's process since its node ran out of memory.

    Ray keeps why an actor died, and answers each call to it with that.
    """
    import ray
    from ray.exceptions import GetTimeoutError, OutOfMemoryError, RayError

    try:
        ray.get(handle.__ray_ready__.remote(), timeout=ASK_LIMIT_S)
    except OutOfMemoryError:
        return True
    except (GetTimeoutError, RayError):
        return False
    return False


class KernelKills:
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
        self._seen = self._count()
        self._at = -math.inf

    def recent(self) -> bool:
        """Whether the count rose within the last seconds; to be asked often enough to see when it does."""
        count, now = self._count(), self._clock()
        if count > self._seen:
            self._at = now
        self._seen = count
        return now - self._at < RECENT_S

    def _count(self) -> int:
        for path in self._files():
            try:
                lines = path.read_text().splitlines()
            except OSError:  # no such controller here, or one that may not be read
                continue
            counts = [int(line.split()[1]) for line in lines if line.startswith("oom_kill ")]
            if counts:
                return counts[0]
        return 0

    def _files(self) -> Sequence[Path]:
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
