"""An owner's heartbeat, for as long as it owns a sweep: whatever else its process is doing meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from infra.errors import LedgerUnavailable
from infra.ledger.store import Ledger

BEAT_S = 2.0


@contextmanager
def keep_beating(url: str, sweep_id: int, token: str, *, beat_s: float = BEAT_S) -> Iterator[None]:
    """Renews the owner's heartbeat within the block, by a thread and a connection of their own.

    A ledger that is away for a while is asked again. Nothing is said where another has become the owner: what
    is written as the owner then is refused.
    """
    ended = threading.Event()

    def beat() -> None:
        """Until the block ends, or another owns the sweep."""
        ledger, owned = None, True
        while owned and not ended.wait(beat_s):
            try:
                ledger = ledger or Ledger(url)
                owned = ledger.renew_heartbeat(sweep_id, token)
            except LedgerUnavailable:
                continue
        if ledger is not None:
            ledger.close()

    thread = threading.Thread(target=beat, daemon=True, name="velodrome-heartbeat")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(beat_s)
