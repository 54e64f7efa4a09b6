"""The ledger's file under faults: damaged, of another version, on a full disk; clocks that jump."""

from __future__ import annotations

import itertools
import os
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, event

from infra.errors import LedgerUnavailable
from infra.home import Home
from infra.ledger import views
from infra.ledger.schema import SCHEMA_VERSION
from infra.ledger.store import Ledger
from tests.faults.commands import standing_in, velodrome
from tests.faults.outcome import Outcome, Pace, case
from tests.infra.conftest import Bench, Clock, drive, family, hello, run_attempt, sweep

PAGE = 4096


def write_ledger(folder: Path, trials: int = 40) -> Path:
    """The file of a ledger with a finished sweep, all of it in the one file."""
    bench = Bench(folder)
    coordinator = bench.begin(sweep(family(trials=trials)))
    drive(coordinator, hello())
    coordinator.tick()
    bench.ledger.close()
    path = folder / "ledger.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return path


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "zero length": lambda content: b"",
    "one byte": lambda content: content[:1],
    "random bytes": lambda content: random.Random(0).randbytes(len(content)),
    "a text": lambda content: b"not a database at all" * 100,
    "torn in the first page": lambda content: content[:100],
    "torn at a page": lambda content: content[: len(content) // 2 // PAGE * PAGE],
    "torn within a page": lambda content: content[: len(content) // 2 + 100],
    "torn tail": lambda content: content[:-1000],
    "pages zeroed": lambda content: content[:PAGE] + bytes(4 * PAGE) + content[5 * PAGE :],
    "head overwritten": lambda content: os.urandom(100) + content[100:],
}


@case("F24", "a ledger that is torn, cut, empty or of random bytes", fast=True)
def check_damaged_ledger(folder: Path, pace: Pace) -> Outcome:
    """Found when it is opened, named, left as it is, exit 4; never a fresh one in its place."""
    whole = write_ledger(folder / "whole").read_bytes()
    silent = 0
    with standing_in(folder / "here"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("infra.ledger.database.CREATION_LOOKS", 1)  # nobody is just making it
        home = Home.from_environment()
        home.path.mkdir()
        path = home.path / "ledger.db"
        for name, harm in DAMAGES.items():
            path.write_bytes(harm(whole))
            silent += _opens(home, path)
            for words in (("status",), ("status", "try")):
                said = velodrome(*words)
                assert said.status == 4, (name, said.err)
                assert "ledger.db" in said.err
            assert path.read_bytes() == harm(whole) or name == "head overwritten", name
    pages = _random_pages(folder / "pages", whole, times=40 if pace.fast else 2_000)
    return Outcome(silent=silent, note=f"{len(DAMAGES)} kinds, {pages} random pages found")


def _opens(home: Home, path: Path) -> bool:
    try:
        Ledger(home.ledger_url, create=True).close()
    except LedgerUnavailable as error:
        return str(path) not in str(error)
    return True


def _random_pages(folder: Path, whole: bytes, times: int) -> int:
    """Overwrites pieces at random. Where that is not found at opening (a byte within a number, a page that
    is free), reading ends in rows or in the one error; how often it was found."""
    folder.mkdir()
    path, draw, found = folder / "ledger.db", random.Random(0), 0
    for _ in range(times):
        content = bytearray(whole)
        size = draw.choice([1, 8, 64, 512, PAGE])
        start = draw.randrange(PAGE, len(content) - size)
        content[start : start + size] = draw.randbytes(size)
        path.write_bytes(content)
        try:
            _read_all(path)
        except LedgerUnavailable:
            found += 1
        for rest in folder.glob("ledger.db-*"):
            rest.unlink()
    assert found > times / 4
    return found


def _read_all(path: Path) -> None:
    ledger = Ledger(f"sqlite:///{path}", create=True)
    try:
        for row in views.sweeps(ledger):
            views.trials(ledger, row.id)
            views.attempts(ledger, row.id)
            views.events(ledger, row.id)
    finally:
        ledger.close()


@case("F23", "a ledger of an older and of a newer schema", fast=True)
def another_schema(folder: Path, pace: Pace) -> Outcome:
    """Refused with what to install; not one byte is written."""
    for version in (SCHEMA_VERSION - 1, SCHEMA_VERSION + 1):
        path = write_ledger(folder / str(version), trials=1)
        with sqlite3.connect(path) as connection:
            connection.execute("UPDATE velodrome_meta SET value = ?", (str(version),))
            connection.commit()
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.close()
        before = path.read_bytes()
        with pytest.raises(LedgerUnavailable, match=f"schema {version}.*pip install"):
            Ledger(f"sqlite:///{path}", create=True)
        assert path.read_bytes() == before
    return Outcome()


@case("F22", "the clock is an hour wrong, and jumps", fast=True)
def wrong_clock(folder: Path, pace: Pace) -> Outcome:
    """No lane is taken for stale, no budget for used up, no time is negative; the end is a quiet run's."""
    spec = sweep(family(trials=8, sampler={"name": "tpe"}), minutes=5.0)
    quiet, bench = Bench(folder / "quiet"), Bench(folder / "wrong", steady=Clock())
    drive(quiet.begin(spec), hello())
    assert bench.steady is not None
    coordinator, me, ended = bench.begin(spec), hello(), None
    coordinator.register_lane(me)
    jumps = itertools.cycle([3_600.0, -7_200.0, 600.0, 3_600.0])
    while not (work := coordinator.next_attempts(me, ended=ended)).leave:
        bench.steady.now += 1.0
        bench.clock.now += next(jumps)
        coordinator.tick()
        ended = run_attempt(coordinator, work, me)
    assert coordinator.stopping is None
    assert coordinator.take_lost_lanes() == []
    trials = views.trials(bench.ledger, bench.sweep_id)
    assert all(trial.seconds == 1.0 for trial in trials)
    assert all((trial.ended_at or 0) >= (trial.started_at or 0) for trial in trials)
    silent = int(_rows(quiet) != _rows(bench))
    quiet.ledger.close()
    bench.ledger.close()
    return Outcome(lost=sum(not trial.has_ended for trial in trials), silent=silent)


@case("F26", "the ledger's disk is full", fast=True)
def full(folder: Path, pace: Pace) -> Outcome:
    """Writes fail loudly, reads go on, and once there is room the sweep ends as a quiet one does."""
    spec = sweep(family(trials=30, sampler={"name": "random"}))
    quiet, bench = Bench(folder / "quiet"), Bench(folder / "full")
    drive(quiet.begin(spec), hello())
    coordinator, room, refused = bench.begin(spec), _Room(bench.ledger), 0
    for pid in range(100):
        room.leave(1 + pid // 4)
        try:
            drive(coordinator, hello(pid=pid))
            break
        except LedgerUnavailable as error:
            refused += "is full" in str(error)
            views.trials(bench.ledger, bench.sweep_id)
        room.leave(100)
        coordinator = bench.take_over(token=f"driver-{pid}")
    assert refused > 2
    ends = [_rows(each) for each in (quiet, bench)]
    quiet.ledger.close()
    bench.ledger.close()
    lost = sum(row[1] not in ("complete", "pruned") for row in ends[1])
    return Outcome(lost=lost, silent=int(ends[0] != ends[1]), note=f"full {refused} times")


class _Room:
    """Lets the ledger's file grow by so many pages more; then SQLite says what it says of a full disk."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger, self._pages = ledger, 1_000_000
        event.listen(ledger.engine, "begin", self._limit)

    def _limit(self, connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count={self._pages}")

    def leave(self, pages: int) -> None:
        """So many pages are left from now on."""
        self._pages = 1_000_000
        with self._ledger.engine.connect() as connection:
            used = connection.exec_driver_sql("PRAGMA page_count").scalar()
        self._pages = int(used or 0) + pages


def _rows(bench: Bench) -> list[tuple[object, ...]]:
    trials = views.trials(bench.ledger, bench.sweep_id)
    return [(trial.params, trial.state, trial.objective, trial.epochs) for trial in trials]
