"""Wrong requests share a small part of the server's time: whoever floods it with them slows nobody."""

from __future__ import annotations

import asyncio
import time

SHARE = 0.1
FIXED_S = 0.0004  # of reading a request's headers and writing its answer
LONGEST_S = 5.0


class ErrorThrottle:
    """Spaces the answers to wrong requests by what they cost.

    A client that waits for its answer sends nothing meanwhile, so all wrong requests together take `share` of
    the time, however many clients send them; a single one waits milliseconds.
    """

    def __init__(self, share: float = SHARE, longest_s: float = LONGEST_S) -> None:
        """Prepares.

        Args:
            share: of the time that wrong requests may take, between 0 and 1.
            longest_s: nobody waits longer, even if then the share is exceeded.
        """
        self._pause_per_s, self._longest_s = 1 / share - 1, longest_s
        self._free_at = 0.0

    async def wait(self, cost_s: float) -> None:
        """Returns when the answer to a wrong request may leave.

        Args:
            cost_s: seconds that reading it took.
        """
        now = time.monotonic()
        self._free_at = max(now, self._free_at) + (cost_s + FIXED_S) * self._pause_per_s
        self._free_at = min(self._free_at, now + self._longest_s)
        await asyncio.sleep(self._free_at - now)
