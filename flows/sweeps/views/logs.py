"""`velodrome logs`: what a sweep's driver and its trials printed, to the end or as it grows."""

from __future__ import annotations

import codecs
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from flows.config.lookup import sweep_in_ledger
from flows.sweeps.views.states import resolve_state
from flows.terminal.next_command import next_command
from infra.errors import WrongInput
from infra.home import Home
from infra.ledger import views
from infra.ledger.rows import SweepRow
from infra.ledger.store import Ledger
from infra.names import spell_family
from infra.storage.paths import log_name, rank_log_name
from infra.storage.trial_logs import DRIVER_LOG, find_log, written_logs_folder
from trainers.types import JsonObject

POLL_S = 0.5
CHUNK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFile:
    """One file of text: the driver's, or one attempt's, of each of its ranks."""

    path: Path
    family: str | None = None
    number: int | None = None
    attempt: int | None = None
    rank: int = 0

    def title(self) -> str:
        """What it is, for people."""
        if self.family is None:
            return "driver"
        rank = f", rank {self.rank}" if self.rank else ""
        return f"{self.family} trial {self.number}, attempt {self.attempt}{rank}"

    def pieces(self, start: int = 0) -> Iterator[str]:
        """The text from a byte on; bytes that are not UTF-8 are shown as replacement characters."""
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        with self.path.open("rb") as file:
            file.seek(start)
            while chunk := file.read(CHUNK_BYTES):
                yield decoder.decode(chunk)
        yield decoder.decode(b"", final=True)

    def text(self) -> str:
        """All of it."""
        return "".join(self.pieces())


@dataclass(frozen=True, slots=True, kw_only=True)
class Logs:
    """The files that were asked for, those that exist."""

    sweep: str
    files: tuple[LogFile, ...]

    def to_json(self) -> JsonObject:
        """Each file with its text."""
        return {
            "sweep": self.sweep,
            "files": [
                {
                    "path": str(file.path),
                    "family": file.family,
                    "number": file.number,
                    "attempt": file.attempt,
                    "rank": file.rank,
                    "text": file.text(),
                }
                for file in self.files
            ],
        }


def logs(name: str, *, trial: int | None = None, family: str | None = None, home: Home | None = None) -> Logs:
    """What was printed so far: by the driver, or by one trial's attempts.

    Args:
        trial: a trial's number; without `family` those of all families with that number.

    Raises:
        WrongInput: no such sweep or trial, or what the trial printed is not here.
    """
    place = home or Home.from_environment()
    with sweep_in_ledger(name, place) as (ledger, row):
        files = present_files(ledger, row, place, trial, family)
    if not files and trial is not None:
        raise WrongInput(
            "a log must be there to be read",
            f"none of {row.label} trial {trial} in {written_logs_folder(place, row.spec)}",
            "attempts write there from when they begin until `velodrome remove`; lanes on other machines need"
            " a storage that is shared (storage:, or VELODROME_STORAGE)",
        )
    return Logs(sweep=row.label, files=files)


def follow_logs(
    name: str,
    *,
    trial: int | None = None,
    family: str | None = None,
    home: Home | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[tuple[LogFile, str]]:
    """Pieces of text as they are written, until nobody runs the sweep any more. Ctrl-C ends it earlier.

    Files of attempts that begin meanwhile are followed too.
    """
    place = home or Home.from_environment()
    followed: dict[Path, _ReadPosition] = {}
    with sweep_in_ledger(name, place) as (ledger, row):
        while True:
            living = _is_running(ledger, row)  # asked before reading, so that the last words are read too
            for file in present_files(ledger, row, place, trial, family):
                for piece in _read_new(file.path, followed):
                    yield file, piece
            if not living:
                return
            sleep(POLL_S)


def present_files(
    ledger: Ledger, row: SweepRow, home: Home, trial: int | None, family: str | None
) -> tuple[LogFile, ...]:
    """The log files that exist, of each family's trial in the order of its attempts."""
    if trial is None:
        driver = find_log(home, row.spec, DRIVER_LOG)
        return () if driver is None else (LogFile(path=driver),)
    found_trials = views.trials(ledger, row.id)
    families = {entry.family for entry in found_trials if entry.number == trial}
    if family is not None:
        families &= {spell_family(family)}
    if not families:
        raise WrongInput(
            f"a trial of that number must be in {row.label}",
            f"{trial}{'' if family is None else f' of {family!r}'}",
            f"`{next_command(f'status {row.label}', row.spec.ledger)}` lists its trials",
        )
    found = []
    of_trial = (views.attempts(ledger, row.id, name, trial) for name in sorted(families))
    for attempt in (entry for entries in of_trial for entry in entries if entry.role == "search"):
        name = log_name(attempt.family, attempt.role, attempt.number, attempt.ordinal)
        for rank in range(row.spec.family(attempt.family).resources.workers):
            if (path := find_log(home, row.spec, rank_log_name(name, rank))) is not None:
                of = {"number": attempt.number, "attempt": attempt.ordinal, "rank": rank}
                found.append(LogFile(path=path, family=attempt.family, **of))
    return tuple(found)


def _is_running(ledger: Ledger, row: SweepRow) -> bool:
    return resolve_state(views.sweep_by_id(ledger, row.id), views.owner(ledger, row.id))[0] == "running"


def _read_new(path: Path, followed: dict[Path, _ReadPosition]) -> Iterator[str]:
    follower = followed.setdefault(path, _ReadPosition())
    with path.open("rb") as file:
        file.seek(follower.read_bytes)
        while chunk := file.read(CHUNK_BYTES):
            follower.read_bytes += len(chunk)
            if text := follower.decoder.decode(chunk):
                yield text


@dataclass(slots=True)
class _ReadPosition:
    """How far a file has been read; a character that is written in two pieces waits for its second one."""

    read_bytes: int = 0
    decoder: codecs.IncrementalDecoder = field(
        default_factory=lambda: codecs.getincrementaldecoder("utf-8")(errors="replace")
    )
