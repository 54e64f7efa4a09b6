"""When to try a tracking server again: twice as long after each failure, and as a Retry-After asks."""

from __future__ import annotations

import time
from collections.abc import Callable

from infra.tracking.client import TrackingUnavailable

FIRST_S = 1.0
LONGEST_S = 30.0
MOST_DOUBLINGS = 32  # a server that is away for a night is asked a thousand times, and 2.0**1024 is no number
LONGEST_ASKED_S = 300.0
PROBE_TIMEOUT_S = 5.0


class Backoff:
    """Counts failures in a row. MLflow's client does not tell what Retry-After said: a probe does."""

    def __init__(self, uri: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._uri, self._clock = uri, clock
        self._failures = 0
        self._asked_until = 0.0

    @property
    def is_first_failure(self) -> bool:
        """Whether the newest failure is the first in a row: the one that people are told of."""
        return self._failures == 1

    @property
    def has_failed(self) -> bool:
        """Whether the newest try failed."""
        return self._failures > 0

    def record_failure(self) -> None:
        """Tracking did not take something."""
        self._failures += 1

    def record_success(self) -> bool:
        """Tracking took everything; whether it had failed before."""
        had_failed, self._failures = self._failures > 0, 0
        return had_failed

    def wait_s(self) -> float:
        """Seconds until the next try."""
        own = FIRST_S * 2.0 ** min(max(self._failures - 1, 0), MOST_DOUBLINGS)
        own = min(own, LONGEST_S)
        return max(own, self._asked_until - self._clock())

    def probe_server(self) -> None:
        """After a failure, asks the server how it is before it gets work."""
        if not self._failures or not self._uri.startswith(("http://", "https://")):
            return
        import requests

        try:
            url = self._uri.rstrip("/") + "/health"
            answer = requests.get(url, timeout=PROBE_TIMEOUT_S, allow_redirects=False)
        except requests.RequestException as error:
            raise TrackingUnavailable(f"health: {type(error).__name__}") from None
        if answer.status_code in (429, 503):
            asked_s = _retry_after_s(answer.headers.get("Retry-After", ""))
            self._asked_until = self._clock() + min(asked_s, LONGEST_ASKED_S)
            raise TrackingUnavailable(
                f"health: status {answer.status_code}, to be tried again after {asked_s:.0f} s"
            )


def _retry_after_s(text: str) -> float:
    return float(text) if text.isdecimal() else 0.0
