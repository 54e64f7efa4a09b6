"""Opening a ledger: how long somebody else is waited for, what is refused, and what is given back."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import psycopg
import pytest
from sqlalchemy import Engine, event, insert, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from infra.errors import LedgerAbsent, LedgerDamaged, LedgerUnavailable, WrongInput
from infra.ledger import database, schema, views
from infra.ledger.batch import WriteBatch
from infra.ledger.rows import TrialRow
from infra.ledger.store import Ledger
from tests.infra.conftest import Bench, sweep
from tests.postgres import Postgres


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long the opening of a ledger has waited, in pieces; no time passes."""
    pieces: list[float] = []
    clock = SimpleNamespace(sleep=pieces.append, monotonic=lambda: sum(pieces))
    monkeypatch.setattr(database, "time", clock)
    return pieces


def make_database(path: Path, *statements: str) -> Path:
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.close()
    return path


def small_database(path: Path) -> Path:
    """SQLite's smallest: one page of 512 bytes."""
    return make_database(path, "PRAGMA page_size=512", "PRAGMA user_version=1")


def is_open(path: Path) -> bool:
    return any(Path(file.path) == path for file in psutil.Process().open_files())


def path_of(bench: Bench) -> Path:
    return Path(bench.url.removeprefix("sqlite:///"))


def write_from_elsewhere(path: Path) -> None:
    """Another process begins to write, and does not wait.

    Raises:
        sqlite3.OperationalError: somebody else writes.
    """
    connection = sqlite3.connect(path, timeout=0.0, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    finally:
        connection.close()


def test_connection_to_a_file_waits_a_minute_for_a_lock_and_logs_ahead(bench: Bench) -> None:
    with bench.ledger.engine.connect() as connection:
        found = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("busy_timeout", "synchronous", "journal_mode")
        ]
    assert found == [60_000, 1, "wal"]  # synchronous: NORMAL, which is safe with such a log


def test_writing_transaction_is_the_only_one_from_its_beginning(bench: Bench) -> None:
    """Else two that have read could not both write, and one would be refused at once."""
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        bench.ledger.run_transaction(lambda connection: write_from_elsewhere(path_of(bench)))
    with bench.ledger.engine.connect() as connection, connection.begin():
        connection.exec_driver_sql("SELECT count(*) FROM sweeps").scalar()
        write_from_elsewhere(path_of(bench))  # beside one that reads


def test_tables_are_made_in_a_transaction_that_writes_from_its_beginning(tmp_path: Path) -> None:
    refused, path = list[str](), tmp_path / "ledger.db"

    def look(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if statement.startswith("\nCREATE TABLE"):
            try:
                write_from_elsewhere(path)
            except sqlite3.OperationalError as error:
                refused.append(str(error))

    event.listen(Engine, "before_cursor_execute", look)
    try:
        Ledger(f"sqlite:///{path}", create=True).close()
    finally:
        event.remove(Engine, "before_cursor_execute", look)
    assert refused == ["database is locked"] * len(schema.metadata.tables)


def test_ledger_is_made_in_folders_that_are_not_there_yet(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "ledger.db"
    with pytest.raises(LedgerUnavailable, match="no file"):
        Ledger(f"sqlite:///{path}")
    assert not path.parent.exists()
    Ledger(f"sqlite:///{path}", create=True).close()
    Ledger(f"sqlite:///{path}").close()
    path.unlink()
    Ledger(f"sqlite:///{path}", create=True).close()  # in a folder that is there


def test_tilde_in_a_ledger_s_path_is_refused_and_makes_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WrongInput, match=r"written out.*~/ledger\.db"):
        Ledger("sqlite:///~/ledger.db", create=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("size", "words"), [(0, "an empty file"), (1, "1 bytes"), (511, "511 bytes")])
def test_file_without_a_whole_page_is_damaged_after_two_seconds(
    tmp_path: Path, slept: list[float], size: int, words: str
) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(bytes(size))
    with pytest.raises(LedgerDamaged, match=words):
        Ledger(f"sqlite:///{path}", create=True)
    assert sum(slept) == pytest.approx(2.0)


def test_file_of_one_smallest_page_is_a_database_at_once(tmp_path: Path, slept: list[float]) -> None:
    path = small_database(tmp_path / "ledger.db")
    assert path.stat().st_size == 512
    Ledger(f"sqlite:///{path}", create=True).close()
    assert slept == []


def test_file_that_another_process_is_just_making_is_waited_for(
    tmp_path: Path, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.db"
    path.write_bytes(b"")
    made = small_database(tmp_path / "made.db").read_bytes()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            path.write_bytes(made)

    monkeypatch.setattr(database.time, "sleep", sleep)
    Ledger(f"sqlite:///{path}", create=True).close()
    assert len(slept) == 3


def test_database_without_tables_is_absent_after_two_seconds_and_closed(
    tmp_path: Path, slept: list[float]
) -> None:
    path = small_database(tmp_path / "ledger.db")
    with pytest.raises(LedgerAbsent, match="no tables"):
        Ledger(f"sqlite:///{path}")
    assert sum(slept) == pytest.approx(2.0)
    assert not is_open(path)


def test_tables_that_another_process_is_just_making_are_waited_for(
    tmp_path: Path, slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = small_database(tmp_path / "ledger.db")

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 3:
            Ledger(f"sqlite:///{path}", create=True).close()

    monkeypatch.setattr(database.time, "sleep", sleep)
    ledger = Ledger(f"sqlite:///{path}")
    assert (len(slept), views.sweeps(ledger)) == (3, [])
    ledger.close()


@pytest.mark.parametrize("create", [False, True])
def test_ledger_of_another_schema_is_refused_and_closed(bench: Bench, create: bool) -> None:
    bench.ledger.run_transaction(lambda connection: connection.execute(update(schema.meta).values(value="2")))
    bench.ledger.close()
    with pytest.raises(LedgerUnavailable, match="schema 2"):
        Ledger(bench.url, create=create)
    assert not is_open(path_of(bench))


def test_ledger_says_its_schema_among_other_notes(bench: Bench) -> None:
    """As a later version may write some."""
    bench.ledger.run_transaction(
        lambda connection: connection.execute(insert(schema.meta).values(key="a", value="b"))
    )
    bench.ledger.create_sweep(sweep(), fingerprint="f", facts={}, at=1.0)
    for create in (False, True):
        opened = Ledger(bench.url, create=create)
        assert [row.spec.name for row in views.sweeps(opened)] == ["try"]
        opened.close()


def test_database_that_cannot_be_read_is_closed_and_told_in_one_line(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(engine: Engine, **_: object) -> None:
        with engine.connect():
            raise OperationalError("SELECT 1", {}, sqlite3.OperationalError("told to\nat length"))

    bench.ledger.close()
    monkeypatch.setattr(database, "_ensure_tables", fail)
    with pytest.raises(LedgerUnavailable, match="told to") as caught:
        Ledger(bench.url)
    assert "at length" not in str(caught.value)
    assert not is_open(path_of(bench))


def test_closed_ledger_has_no_file_open(bench: Bench) -> None:
    views.sweeps(bench.ledger)
    assert is_open(path_of(bench))
    bench.ledger.close()
    assert not is_open(path_of(bench))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OperationalError("x", {}, sqlite3.OperationalError("locked")), LedgerUnavailable),
        (OperationalError("x", {}, sqlite3.DatabaseError("malformed")), LedgerDamaged),
        (PoolTimeout("no connection"), LedgerUnavailable),
    ],
)
def test_error_of_a_database_is_told_as_absence_or_as_damage(
    bench: Bench, error: Exception, kind: type[Exception]
) -> None:
    def fail(_connection: object) -> None:
        raise error

    with pytest.raises(LedgerUnavailable) as caught:
        bench.ledger.run_transaction(fail)
    assert type(caught.value) is kind


class Locked:
    """A connection to a file that somebody holds until so many have asked."""

    def __init__(self, until: float) -> None:
        self.until, self.tries, self.mode = until, 0, "delete"

    def execute(self, statement: str) -> Any:
        if statement.endswith("=WAL"):
            self.tries += 1
            if self.tries <= self.until:
                raise sqlite3.OperationalError("database is locked")
            self.mode = "wal"
        return SimpleNamespace(fetchone=lambda: (self.mode,), close=lambda: None)


def test_log_ahead_is_asked_for_until_nobody_holds_the_file(slept: list[float]) -> None:
    file = Locked(until=5)
    database._use_wal(file)  # type: ignore[arg-type]
    assert (file.mode, file.tries, len(slept)) == ("wal", 6, 5)


def test_log_ahead_is_asked_for_a_minute_long_and_no_longer(slept: list[float]) -> None:
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        database._use_wal(Locked(until=float("inf")))  # type: ignore[arg-type]
    assert sum(slept) == pytest.approx(60.0, abs=0.05)


@pytest.fixture
def server_ledger(postgres: Postgres) -> Iterator[Ledger]:
    """A ledger on a server."""
    ledger = Ledger(postgres.database(), create=True)
    yield ledger
    ledger.close()


def test_connections_that_the_server_ended_are_made_anew(server_ledger: Ledger) -> None:
    """As when it was started again: neither the next reading fails for it nor the next writing, nor what is
    read in pages, which is not begun anew."""

    def read_pages() -> None:
        with database.read_as_of_now(server_ledger.engine) as connection:
            connection.exec_driver_sql("SELECT 1")

    url = server_ledger.engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    sweep_id = server_ledger.create_sweep(sweep(), fingerprint="f", facts={}, at=1.0)
    batch = WriteBatch()
    batch.add_event("noted", 1.0, {})
    for use in (
        lambda: views.sweeps(server_ledger), lambda: server_ledger.add_events(sweep_id, batch), read_pages,
    ):  # fmt: skip
        with psycopg.connect(url) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        use()
    assert views.count_events(server_ledger, sweep_id, "noted") == 1


def test_server_is_left_with_two_connections_at_most(server_ledger: Ledger) -> None:
    held = [server_ledger.engine.connect() for _ in range(4)]
    for connection in held:
        connection.close()
    assert server_ledger.engine.pool.checkedin() == 2  # type: ignore[attr-defined]


def test_server_that_does_not_answer_is_given_up_after_fifteen_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[object] = []

    def connect(*_: object, **options: object) -> None:
        asked.append(options.get("connect_timeout"))
        raise psycopg.OperationalError("timeout expired")

    monkeypatch.setattr(psycopg, "connect", connect)
    with pytest.raises(LedgerUnavailable, match="timeout expired"):
        Ledger("postgresql+psycopg://velodrome@h/d")
    assert asked == [15]


def test_tables_on_a_server_wait_for_whoever_is_making_them(postgres: Postgres) -> None:
    """Whatever its version: the lock's number is the same in all."""
    url, made = postgres.database(), list[Ledger]()
    plain = url.replace("postgresql+psycopg", "postgresql")
    maker = threading.Thread(target=lambda: made.append(Ledger(url, create=True)))
    with psycopg.connect(plain) as other:
        other.execute(f"SELECT pg_advisory_xact_lock({int.from_bytes(b'velo')})")
        maker.start()
        maker.join(0.5)
        assert made == []
    maker.join(60)
    made[0].close()


READINGS: dict[str, Callable[[Ledger, int], object]] = {
    "SELECT journal": lambda ledger, sweep_id: list(views.journal_records(ledger, sweep_id)),
    "SELECT trials": views.trials,
    "SELECT DISTINCT events": lambda ledger, sweep_id: views.changed_trials(
        ledger, sweep_id, after=0, role="search"
    ),
}


@pytest.mark.parametrize("begin", READINGS)
def test_long_table_on_a_server_is_fetched_page_by_page(
    server_ledger: Ledger, begin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten thousand trials' rows are not in memory twice; what is one page is fetched at once."""
    sweep_id = server_ledger.create_sweep(sweep(), fingerprint="f", facts={}, at=1.0)
    batch = WriteBatch(journal=["{}", "{}"])
    for number in range(2):
        trial = TrialRow(role="search", family="noop", number=number, params={}, seed=0)
        batch.add_event("asked", 1.0, {}, trial)
    server_ledger.add_events(sweep_id, batch)
    paged: list[bool] = []

    def look(_: object, cursor: object, statement: str, *_rest: object) -> None:
        if statement.startswith(begin):
            paged.append(isinstance(cursor, psycopg.ServerCursor))

    event.listen(server_ledger.engine, "before_cursor_execute", look)
    whole = READINGS[begin](server_ledger, sweep_id)
    assert paged == [False]
    monkeypatch.setattr(views, "ROWS_AT_ONCE", 1)
    assert READINGS[begin](server_ledger, sweep_id) == whole
    assert paged == [False, False, True]
    begin = "SELECT sweeps"
    views.sweeps(server_ledger)
    assert paged == [False, False, True, False]


def test_events_are_told_five_thousand_at_a_time(bench: Bench) -> None:
    sweep_id = bench.ledger.create_sweep(sweep(), fingerprint="f", facts={}, at=1.0)
    row = {"sweep_id": sweep_id, "at": 1.0, "kind": "noted", "payload": "{}"}
    bench.ledger.run_transaction(lambda connection: connection.execute(insert(schema.events), [row] * 5_001))
    told = views.events(bench.ledger, sweep_id)
    assert len(told) == 5_000
    assert len(views.events(bench.ledger, sweep_id, after=told[-1].seq)) == 1


def test_trials_of_many_keys_are_all_found(bench: Bench) -> None:
    sweep_id = bench.ledger.create_sweep(sweep(), fingerprint="f", facts={}, at=1.0)
    made = [TrialRow(role="search", family="noop", number=n, params={}, seed=n) for n in range(600)]
    bench.ledger.add_events(sweep_id, WriteBatch(trials={trial.key: trial for trial in made}))
    for count in (0, 1, 250, 251, 500, 600):
        keys = [trial.key for trial in made[:count]]
        found = views.trials_by_key(bench.ledger, sweep_id, keys)
        assert sorted(trial.number for trial in found) == list(range(count))
