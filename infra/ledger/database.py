"""Opening the ledger's database: SQLite in WAL mode or PostgreSQL, checked before anything leans on it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, Select, create_engine, event, insert, inspect, select
from sqlalchemy.engine import URL, RowMapping, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, SQLAlchemyError

from infra.errors import LedgerAbsent, LedgerDamaged, LedgerUnavailable, WrongInput
from infra.ledger import postgres
from infra.ledger.page_check import find_damage
from infra.ledger.schema import SCHEMA_VERSION, meta, metadata

BUSY_TIMEOUT_S = 60.0
BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
CREATION_LOOKS = 20
SMALLEST_PAGE = 512  # bytes
REFUSED = (IntegrityError, DataError)

Answer = TypeVar("Answer")


def open_engine(url: str, *, create: bool) -> Engine:
    """An engine on a ledger whose tables are there and whole.

    Args:
        url: `sqlite:////absolute/path` or `postgresql+psycopg://…`.
        create: make the database's tables where there are none.

    Raises:
        WrongInput: the URL cannot be read or names another kind of database.
        LedgerUnavailable: damaged, of another schema version, absent, or not to be reached.
    """
    parsed = _parse_url(url)
    if parsed.get_backend_name() == "postgresql":
        return postgres.share_engine(parsed, lambda: _open_server(parsed, create=create))
    _check_file(Path(parsed.database or ""), create=create)
    return _open_one(parsed, create=create)


def _open_server(parsed: URL, *, create: bool) -> Engine:
    """Once more where the connection was cut meanwhile: what was made by then is there."""
    try:
        return _open_one(parsed, create=create)
    except LedgerUnavailable as error:
        if not postgres.is_cut(error):
            raise
    return _open_one(parsed, create=create)


def _open_one(parsed: URL, *, create: bool) -> Engine:
    engine = _build_engine(parsed)
    try:
        _ensure_tables(engine, create=create)
    except SQLAlchemyError as error:
        engine.dispose()
        raise LedgerUnavailable(
            "the ledger must be reachable",
            f"{parsed.render_as_string(hide_password=True)}: {_first_line(error)}",
            "check the URL, the permissions and that the server runs",
        ) from error
    except LedgerUnavailable:
        engine.dispose()
        raise
    return engine


def close_engine(engine: Engine, *, again: bool = False) -> None:
    """Gives an engine of `open_engine` back; `again` where it was used after that."""
    if engine.dialect.name == "postgresql":
        postgres.leave_engine(engine, counted=not again)
    else:
        engine.dispose()


def read_as_of_now(engine: Engine) -> Connection:
    """A connection of which all that is read is of one moment, in pages where it is much."""
    level = {"isolation_level": "REPEATABLE READ"} if engine.dialect.name == "postgresql" else {}
    return engine.connect().execution_options(**level)


def run_transaction(engine: Engine, work: Callable[[Connection], Answer]) -> Answer:
    """What `work` gives, in one writing transaction; on a server that ended the connection before its end,
    all of it once more."""
    try:
        return _run_once(engine, work)
    except DBAPIError as error:
        if not postgres.is_lost_before_commit(error):
            raise
    return _run_once(engine, work)


def _run_once(engine: Engine, work: Callable[[Connection], Answer]) -> Answer:
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        if engine.dialect.name != "postgresql":
            return work(connection)
        with postgres.one_exchange(connection):
            return work(connection)


def fetch_all(engine: Engine, query: Select[Any]) -> Sequence[RowMapping]:
    """All rows at once; of a connection that has ended, once more."""
    try:
        return _fetch_once(engine, query)
    except DBAPIError as error:
        if not error.connection_invalidated:
            raise
    return _fetch_once(engine, query)


def _fetch_once(engine: Engine, query: Select[Any]) -> Sequence[RowMapping]:
    with engine.connect() as connection:
        return connection.execute(query).mappings().all()


@contextmanager
def explain_errors(engine: Engine, must: str, do: str) -> Iterator[None]:
    """Says what a failed read or write means: the database is away for now, or is damaged. What it refuses
    for what it holds (a second row of one key) stays as it is: a defect of ours, which waiting does not mend.

    Raises:
        LedgerUnavailable: with `must` and `do`.
        LedgerDamaged: SQLite found a page that is not what was written.
        SQLAlchemyError: it refused.
    """
    try:
        yield
    except REFUSED:
        raise
    except SQLAlchemyError as error:
        found, path = _first_line(error), Path(engine.url.database or "")
        if isinstance(error, DBAPIError) and type(error.orig) is sqlite3.DatabaseError:
            raise _damaged_error(path, found) from error
        if isinstance(error, DBAPIError) and getattr(error.orig, "sqlite_errorcode", None) in BUSY:
            found = f"{path} was locked by another process for {BUSY_TIMEOUT_S:g} s"
        raise LedgerUnavailable(must, found, do) from error


def _parse_url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise WrongInput(
            "the ledger must be a database URL",
            "one that cannot be read",
            "sqlite:////path or postgresql+psycopg://…",
        ) from error
    if parsed.get_backend_name() not in {"sqlite", "postgresql"}:
        raise WrongInput("the ledger must be SQLite or PostgreSQL", parsed.drivername)
    if parsed.get_backend_name() == "sqlite" and (parsed.database or "").startswith("~"):
        # SQLite takes it for a folder of that name, here.
        raise WrongInput(
            "a ledger's path must be written out", parsed.database or "", "sqlite:////home/me/ledger.db"
        )
    return parsed


def _build_engine(parsed: URL) -> Engine:
    if parsed.get_backend_name() == "postgresql":
        return postgres.build_engine(parsed)
    engine = create_engine(parsed, connect_args={"timeout": BUSY_TIMEOUT_S, "check_same_thread": False})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(
        engine,
        "begin",
        lambda connection: connection.exec_driver_sql(
            "BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN"
        ),
    )
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    # Transactions are ours to begin: the driver would begin them late, and let two writers meet half-way.
    connection.isolation_level = None
    for pragma in (f"busy_timeout={int(BUSY_TIMEOUT_S * 1000)}", "synchronous=NORMAL"):
        connection.execute(f"PRAGMA {pragma}").close()
    _use_wal(connection)


def _use_wal(connection: sqlite3.Connection) -> None:
    """Write-ahead logging, a property of the file. SQLite does not wait for a lock to turn it on: two that
    make a ledger at once would see one of them refused."""
    deadline = time.monotonic() + BUSY_TIMEOUT_S
    while connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _check_file(path: Path, *, create: bool) -> None:
    if not path.exists():
        if not create:
            raise LedgerUnavailable(
                "the ledger must exist", f"no file {path}", "run `velodrome sweep FILE` first"
            )
        _make_parent(path)
        return
    size = _await_size(path)
    if size < SMALLEST_PAGE:
        raise _damaged_error(path, "an empty file" if size == 0 else f"{size} bytes")
    try:
        found = find_damage(path, BUSY_TIMEOUT_S)
    except sqlite3.OperationalError as error:
        raise LedgerUnavailable(
            "the ledger must be readable", f"{path}: {error}", "is another process holding it?"
        ) from error
    except sqlite3.DatabaseError as error:
        raise _damaged_error(path, str(error)) from error
    if found:
        raise _damaged_error(path, "; ".join(found))


def _damaged_error(path: Path, found: str) -> LedgerDamaged:
    restore = f"restore {path} from a copy, or move it away to start anew"
    return LedgerDamaged("the ledger must be whole", f"{path}: {found}", restore)


def _await_size(path: Path) -> int:
    """The file's size in bytes; a file without a whole page is looked at again for a moment, since SQLite
    makes one so while another process creates it. It takes what stays so for a new and empty database."""
    for _ in range(CREATION_LOOKS):
        if path.stat().st_size >= SMALLEST_PAGE:
            break
        time.sleep(0.1)
    return path.stat().st_size


def _make_parent(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerUnavailable("the ledger's folder must be writable", str(error)) from error


def _ensure_tables(engine: Engine, *, create: bool) -> None:
    found = postgres.find_schema(engine) if engine.dialect.name == "postgresql" else None
    names = {meta.name} if found is not None else _table_names(engine, patient=not create)
    if meta.name not in names:
        if not names and not create:
            raise LedgerAbsent(
                "the ledger must exist", "a database with no tables", "run `velodrome sweep FILE` first"
            )
        if names:
            raise LedgerUnavailable(
                "the ledger must be one of Velodrome's",
                f"a database with {', '.join(sorted(names)[:3])}",
                "give the ledger a database of its own",
            )
        _make_tables(engine)
    if found is None:
        with engine.connect() as connection:
            found = connection.execute(select(meta.c.value).where(meta.c.key == "schema")).scalar()
    if found != str(SCHEMA_VERSION):
        raise LedgerUnavailable(
            f"this version of Velodrome reads ledgers of schema {SCHEMA_VERSION}",
            f"schema {found}",
            "install the Velodrome that wrote it (pip install 'velodrome==…'), or use another ledger",
        )


def _make_tables(engine: Engine) -> None:
    if engine.dialect.name == "postgresql":
        postgres.make_tables(engine)
        return
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        metadata.create_all(connection)
        if connection.execute(select(meta.c.value).where(meta.c.key == "schema")).first() is None:
            connection.execute(insert(meta).values(key="schema", value=str(SCHEMA_VERSION)))


def _table_names(engine: Engine, *, patient: bool) -> set[str]:
    """The tables; a reader waits a moment for a ledger that another process is just making."""
    names = set(inspect(engine).get_table_names())
    for _ in range(CREATION_LOOKS if patient else 0):
        if names:
            break
        time.sleep(0.1)
        names = set(inspect(engine).get_table_names())
    return names


def _first_line(error: Exception) -> str:
    return str(getattr(error, "orig", error) or error).strip().splitlines()[0]
