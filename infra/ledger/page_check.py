"""Whether the pages of a SQLite ledger are whole, asked of SQLite where it is not known already.

The check reads the whole file, so what it found is noted beside it and holds for as long as nothing has
written to the file. While somebody has the ledger open (it has a write-ahead log then), it is looked through
again after a minute: what writes then is SQLite, which finds a damaged page when it reads one.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

AGAIN_S = 60.0  # while it is written to
UNCHANGED_S = 86_400.0  # a disk may lose what nobody wrote to


@dataclass(frozen=True, slots=True, kw_only=True)
class PageCheck:
    """A file that was found whole, as it was before it was looked through.

    Attributes:
        boot: of the machine since it started: after a power cut nothing is known.
        changed_ns: the moment of its last change of any kind, which no copy brings along.
        at_s: when it was checked, in seconds since the machine started.
    """

    device: int
    inode: int
    size_bytes: int
    changed_ns: int
    boot: str
    at_s: float

    @classmethod
    def of_file(cls, path: Path) -> PageCheck:
        """As it is now."""
        found = path.stat()
        return cls(
            device=found.st_dev,
            inode=found.st_ino,
            size_bytes=found.st_size,
            changed_ns=found.st_ctime_ns,
            boot=_boot_id(),
            at_s=time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)),
        )

    def covers(self, now: PageCheck, *, is_open: bool) -> bool:
        """Whether the file as it is now needs no further look.

        Args:
            is_open: somebody has it open, or was killed while it was.
        """
        if (self.device, self.inode, self.boot) != (now.device, now.inode, now.boot):
            return False
        age_s = now.at_s - self.at_s
        if (self.size_bytes, self.changed_ns) == (now.size_bytes, now.changed_ns):
            return 0 <= age_s < UNCHANGED_S
        return is_open and now.size_bytes >= self.size_bytes and 0 <= age_s < AGAIN_S


def _boot_id() -> str:
    """Names the time since this machine started; empty where the system has no such name: there a clock that
    has gone back tells of a start."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def find_damage(path: Path, timeout_s: float) -> list[str]:
    """What SQLite finds wrong with the file's pages, where it was not found whole before.

    Raises:
        sqlite3.Error: it cannot be read, or is no database.
    """
    now, note = PageCheck.of_file(path), note_beside(path)
    if (known := _read_note(note)) and known.covers(now, is_open=path.with_name(f"{path.name}-wal").exists()):
        return []
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=timeout_s)
    try:
        found = [row[0] for row in connection.execute("PRAGMA quick_check(3)")]
    finally:
        connection.close()
    if found != ["ok"]:
        return found
    _write_note(note, now)
    return []


def note_beside(path: Path) -> Path:
    """Where it is noted that a ledger was found whole."""
    return path.with_name(f".{path.name}.checked")


def _read_note(note: Path) -> PageCheck | None:
    try:
        return PageCheck(**json.loads(note.read_text()))
    except (OSError, ValueError, TypeError):  # there is none, or it is not ours
        return None


def _write_note(note: Path, check: PageCheck) -> None:
    """Whole or not at all; where the folder takes no files, each command looks for itself."""
    with suppress(OSError):
        aside = note.with_name(f"{note.name}.{os.getpid()}")
        aside.write_text(json.dumps(asdict(check)))
        aside.replace(note)
