"""Whether the head of a cluster is still there.

Ray ends a process that has been without its head for 60 s, at once and with a status of its own, and its
calls wait until then. Whoever looks first can still say what happened.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable

from infra.errors import HeadGone

CONNECT_S = 1.0
LOOK_EVERY_S = 1.0
LIMIT_S = 20.0


class HeadMonitor:
    """Looks at the head's port now and then."""

    def __init__(
        self,
        address: str,
        *,
        reachable: Callable[[str], bool] | None = None,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """It was there just now.

        Args:
            address: of its control service, `host:port`.
            reachable: whether somebody listens at an address.
            steady: seconds that only pass.
        """
        self._address, self._reachable, self._steady = address, reachable or is_listening, steady
        self._looked_at = steady()
        self._away_since: float | None = None

    def is_reachable(self) -> bool:
        """Whether it was there at the last look, which is a second old at most."""
        now = self._steady()
        if now - self._looked_at >= LOOK_EVERY_S:
            self._looked_at = now
            self._away_since = None if self._reachable(self._address) else self._away_since or now
        if self._away_since is None:
            return True
        if now - self._away_since > LIMIT_S:
            raise HeadGone(
                f"the head of the cluster must be back within {LIMIT_S:.0f} s",
                f"nobody listens at {self._address}",
                "start the cluster again; the same command then carries the sweep on",
            )
        return False


def is_listening(address: str) -> bool:
    """Whether a connection to `host:port` is taken."""
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError), socket.create_connection((host.strip("[]"), int(port)), CONNECT_S):
        return True
    return False
