"""What has been sent to tracking so far. Losing it is harmless: runs are found again by their key.

Several threads may note at once what they have sent.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from infra.secrets import redact

DROPPED = "dropped"  # the status of a run that somebody deleted: nothing is sent to it any more

_TABLES = """
CREATE TABLE IF NOT EXISTS cursors (
  target TEXT, sweep TEXT, seq INTEGER NOT NULL, experiment TEXT NOT NULL, PRIMARY KEY (target, sweep));
CREATE TABLE IF NOT EXISTS runs (
  target TEXT, sweep TEXT, key TEXT, run_id TEXT, seq INTEGER NOT NULL, epoch INTEGER NOT NULL,
  status TEXT NOT NULL, PRIMARY KEY (target, sweep, key));
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentState:
    """What one run has received.

    Attributes:
        run_id: None: about to be created; it may or may not be there.
        seq: events up to this position.
        epoch: points up to this epoch; a later attempt's points of earlier epochs are not sent again.
        status: MLflow's, as last set; empty: never written to; `dropped`: deleted by somebody.
    """

    run_id: str | None = None
    seq: int = 0
    epoch: int = 0
    status: str = ""


class Outbox:
    """A small SQLite file, one set of rows for each sweep and tracking store."""

    def __init__(self, path: Path, uri: str, sweep: str) -> None:
        """Opens it; a damaged file is replaced by an empty one.

        Args:
            path: the file; its folder is made.
            uri: of the tracking store; only a hash without user information is kept.
            sweep: the sweep's identity in tracking.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        self._turn = (
            threading.Lock()
        )  # a transaction belongs to the connection, whoever is in the midst of it
        self._scope = (hashlib.sha256(redact(uri).encode()).hexdigest()[:16], sweep)
        try:
            self._connection = _open_database(path)
        except sqlite3.DatabaseError:
            for leftover in path.parent.glob(f"{path.name}*"):
                leftover.unlink(missing_ok=True)
            self._connection = _open_database(path)

    def close(self) -> None:
        """Gives the file back."""
        self._connection.close()

    def cursor(self) -> tuple[int, str] | None:
        """The last event sent and the experiment's id, or None where nothing is known."""
        query = "SELECT seq, experiment FROM cursors WHERE target = ? AND sweep = ?"
        found: tuple[int, str] | None = self._connection.execute(query, self._scope).fetchone()
        return found

    def advance(self, seq: int, experiment: str) -> None:
        """Everything up to `seq` has been sent."""
        with self._turn:
            self._connection.execute(
                "INSERT OR REPLACE INTO cursors VALUES (?, ?, ?, ?)", (*self._scope, seq, experiment)
            )
            self._connection.commit()

    def runs(self) -> dict[str, SentState]:
        """What each run has received, by key."""
        query = "SELECT key, run_id, seq, epoch, status FROM runs WHERE target = ? AND sweep = ?"
        with self._turn:
            rows = self._connection.execute(query, self._scope).fetchall()
        return {
            key: SentState(run_id=run, seq=seq, epoch=epoch, status=s) for key, run, seq, epoch, s in rows
        }

    def put(self, key: str, sent: SentState) -> None:
        """Notes what one run has received."""
        self.put_all({key: sent})

    def put_all(self, sent: Mapping[str, SentState]) -> None:
        """Notes what many runs have received, all of it or nothing."""
        rows = [(*self._scope, key, one.run_id, one.seq, one.epoch, one.status) for key, one in sent.items()]
        with self._turn:
            self._connection.executemany("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
            self._connection.commit()

    def forget(self) -> None:
        """Nothing has been sent: tracking lost what it had."""
        with self._turn:
            for table in ("cursors", "runs"):
                self._connection.execute(f"DELETE FROM {table} WHERE target = ? AND sweep = ?", self._scope)
            self._connection.commit()


def _open_database(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=30, check_same_thread=False)
    try:
        # Not synchronous: what a power failure takes from here is found again in tracking.
        for pragma in ("journal_mode=WAL", "synchronous=OFF"):
            with closing(connection.execute(f"PRAGMA {pragma}")):
                pass
        connection.executescript(_TABLES)
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection
