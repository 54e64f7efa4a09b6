"""When a ledger's pages are looked through, and when what was found before still holds."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from infra.errors import LedgerDamaged
from infra.ledger import page_check, views
from infra.ledger.page_check import AGAIN_S, UNCHANGED_S, PageCheck, find_damage, note_beside
from infra.ledger.store import Ledger
from tests.infra.conftest import Bench, drive, family, hello, sweep

PAGE = 4096
NOW = PageCheck(device=1, inode=2, size_bytes=PAGE, changed_ns=3, boot="b", at_s=100.0)


@pytest.fixture
def ledger_file(bench: Bench) -> Path:
    """A ledger with a finished sweep that nobody has open."""
    drive(bench.begin(sweep(family(trials=20))), hello())
    bench.ledger.close()
    return Path(bench.url.removeprefix("sqlite:///"))


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were looked through since."""
    made: list[str] = []
    connect = sqlite3.connect

    def count(address: str, **options: object) -> sqlite3.Connection:
        made.append(address)
        return connect(address, **options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(page_check.sqlite3, "connect", count)
    return made


def open_ledger(path: Path) -> None:
    """As each command does, and reads it."""
    ledger = Ledger(f"sqlite:///{path}")
    try:
        for row in views.sweeps(ledger):
            views.trials(ledger, row.id)
    finally:
        ledger.close()


def zero_pages(path: Path) -> None:
    """In place: the file stays the same one, as long as before."""
    with path.open("r+b") as file:
        file.seek(PAGE)
        file.write(bytes(4 * PAGE))


def test_ledger_that_nobody_wrote_to_is_looked_through_once(ledger_file: Path, looks: list[str]) -> None:
    for _ in range(5):
        open_ledger(ledger_file)
    assert len(looks) <= 1


@pytest.mark.parametrize("kept_time", [False, True])
def test_pages_changed_in_place_after_a_look_are_found(ledger_file: Path, kept_time: bool) -> None:
    """Also where the time of the last write is set back to what it was."""
    open_ledger(ledger_file)
    before = ledger_file.stat()
    zero_pages(ledger_file)
    if kept_time:
        os.utime(ledger_file, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(LedgerDamaged, match=r"ledger\.db"):
        open_ledger(ledger_file)


def test_damaged_copy_in_the_place_of_a_whole_ledger_is_found(ledger_file: Path, tmp_path: Path) -> None:
    open_ledger(ledger_file)
    copy = tmp_path / "copy.db"
    shutil.copy2(ledger_file, copy)
    zero_pages(copy)
    copy.replace(ledger_file)
    with pytest.raises(LedgerDamaged):
        open_ledger(ledger_file)


def test_ledger_that_is_written_to_is_looked_through_once_a_minute(
    ledger_file: Path, looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As commands beside a sweep open it; a thousand pages written move what was in the log to the file."""
    owner, clock = Ledger(f"sqlite:///{ledger_file}"), [0.0]
    monkeypatch.setattr(page_check.time, "clock_gettime", lambda which: clock[0])
    looks.clear()
    for second in range(int(AGAIN_S) + 20):
        clock[0] = float(second)
        (row,) = views.sweeps(owner)
        owner.add_request(row.id, "stop", {"at": second}, at=1.0)
        with owner.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(RESTART)")
        open_ledger(ledger_file)
    owner.close()
    assert 1 <= len(looks) <= 2
    assert note_beside(ledger_file).exists()


@pytest.mark.parametrize(
    ("now", "is_open", "covered"),
    [
        (NOW, False, True),
        (replace(NOW, at_s=NOW.at_s + 0.5), False, True),
        (replace(NOW, changed_ns=4), True, True),
        (replace(NOW, changed_ns=4, at_s=NOW.at_s + 0.5), True, True),
        (replace(NOW, at_s=NOW.at_s + UNCHANGED_S - 1), False, True),
        (replace(NOW, at_s=NOW.at_s + UNCHANGED_S + 1), False, False),
        (replace(NOW, changed_ns=4), False, False),
        (replace(NOW, changed_ns=4, at_s=NOW.at_s + AGAIN_S - 1), True, True),
        (replace(NOW, changed_ns=4, at_s=NOW.at_s + AGAIN_S + 1), True, False),
        (replace(NOW, changed_ns=4, size_bytes=PAGE - 1), True, False),
        (replace(NOW, changed_ns=4, size_bytes=PAGE + 1), True, True),
        (replace(NOW, boot="another"), True, False),
        (replace(NOW, inode=9), True, False),
        (replace(NOW, device=9), True, False),
        (replace(NOW, at_s=NOW.at_s - 1), False, False),  # the machine has started since
        (replace(NOW, changed_ns=4, at_s=NOW.at_s - 1), True, False),
    ],
)
def test_earlier_look_covers_a_file_as_it_was_and_for_a_while(
    now: PageCheck, is_open: bool, covered: bool
) -> None:
    assert NOW.covers(now, is_open=is_open) is covered


@pytest.mark.parametrize("text", ["", "[]", '{"inode": 1}', "\0"])
def test_note_that_is_not_ours_is_passed_over(ledger_file: Path, looks: list[str], text: str) -> None:
    open_ledger(ledger_file)
    note_beside(ledger_file).write_text(text)
    looks.clear()
    assert find_damage(ledger_file, 1.0) == []
    assert find_damage(ledger_file, 1.0) == []
    assert len(looks) == 1


def test_folder_that_takes_no_note_still_has_a_readable_ledger(
    ledger_file: Path, looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_check, "note_beside", lambda path: path / "no folder" / "note")
    for _ in range(2):
        assert find_damage(ledger_file, 1.0) == []
    assert len(looks) == 2


DAMAGES: dict[str, Callable[[Ledger], object]] = {
    "read": lambda ledger: [views.trials(ledger, row.id) for row in views.sweeps(ledger)],
    "write": lambda ledger: ledger.add_request(1, "stop", {}, at=1.0),
}


@pytest.mark.parametrize("use", DAMAGES.values(), ids=DAMAGES)
def test_damage_that_sqlite_meets_is_said_to_be_damage(
    ledger_file: Path, use: Callable[[Ledger], object]
) -> None:
    """Not that the ledger is away, for which a coordinator would wait ten minutes."""
    ledger = Ledger(f"sqlite:///{ledger_file}")
    ledger.engine.dispose()
    content = bytearray(ledger_file.read_bytes())
    content[PAGE:] = b"\xff" * (len(content) - PAGE)
    ledger_file.write_bytes(content)
    with pytest.raises(LedgerDamaged, match=r"restore .*ledger\.db from a copy"):
        use(ledger)
    ledger.close()
