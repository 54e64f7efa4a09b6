"""The ledger on a PostgreSQL server that may be far away: as few round trips as its transactions allow.

A reading is one statement by itself. A transaction's statements wait for an answer only where one is wanted;
the others go out with its end (libpq's pipeline mode). Whether a kept connection has ended is seen here, by
what has arrived on it, instead of being asked: who finds out too late begins anew, where nothing can be
written yet. All ledgers that a process has open on one database share connections.
"""

from __future__ import annotations

import logging
import os
import random
import select as polling
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Engine, create_engine, event, select
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection, Dialect, ExecutionContext
from sqlalchemy.exc import DBAPIError, DisconnectionError, ProgrammingError
from sqlalchemy.schema import CreateIndex, CreateTable

from infra.errors import LedgerUnavailable
from infra.ledger.schema import SCHEMA_VERSION, meta, metadata

if TYPE_CHECKING:
    from psycopg import Connection as PsycopgConnection

BUSY_TIMEOUT_S = 60.0
CONNECT_TIMEOUT_S = 15
CREATION_LOCK = 0x76656C6F  # of PostgreSQL's locks that applications name by a number
FULL = ("too many clients", "too many connections", "connection slots are reserved")
FULL_RETRY_S = (0.05, 0.25)
CUT = (
    "server closed the connection unexpectedly", "Connection reset by peer",
    "terminating connection due to administrator command",
)  # fmt: skip
QUEUED = {"queued": True}
"""Execution options of a statement whose answer nobody waits for: it goes out with the next that has one."""
_PIPELINE = "velodrome_pipeline"


def build_engine(parsed: URL) -> Engine:
    """An engine whose statements are transactions of their own, unless `one_exchange` puts them together."""
    try:
        engine = create_engine(
            parsed, pool_size=2, isolation_level="AUTOCOMMIT", use_native_hstore=False,
            connect_args={"connect_timeout": CONNECT_TIMEOUT_S},
        )  # fmt: skip
    except ModuleNotFoundError as error:
        raise LedgerUnavailable(
            "PostgreSQL needs its driver", str(error), "pip install 'velodrome[postgres]'"
        ) from error
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # it warns of what the error that is raised says
    event.listen(engine, "do_connect", _connect_in_turn)
    event.listen(engine, "checkout", _refuse_ended)
    event.listen(engine, "after_cursor_execute", _await_answer)
    return engine


# -- connections that are shared -----------------------------------------------------------------------------


@dataclass(slots=True)
class _Shared:
    engine: Engine
    users: int = 0


_shared: dict[tuple[int, URL], _Shared] = {}  # by process too: one that was forked must not use another's
_sharing = threading.Lock()


def share_engine(parsed: URL, open_one: Callable[[], Engine]) -> Engine:
    """The engine that others in this process use for that database, or a new one; until `leave_engine`."""
    key = (os.getpid(), parsed)
    with _sharing:
        if key not in _shared:
            _shared[key] = _Shared(open_one())
        _shared[key].users += 1
        return _shared[key].engine


def leave_engine(engine: Engine, *, counted: bool) -> None:
    """Gives an engine's connections back, once nobody uses it any more.

    Args:
        counted: the caller is one of those whom `share_engine` counted, and leaves for the first time.
    """
    with _sharing:
        for key, known in list(_shared.items()):
            if known.engine is engine:
                known.users -= counted
                if known.users:
                    return
                del _shared[key]
    engine.dispose()


def _connect_in_turn(
    dialect: Dialect, _record: object, args: Sequence[object], params: Mapping[str, object]
) -> DBAPIConnection:
    """A connection; while the server has as many as it takes (`max_connections`), as soon as one is free. One
    that was cut while it was made is made once more.

    libpq gives no code for why a server refused, so it is known by its words; of a server that speaks another
    language it is refused at once, as anything else is.
    """
    deadline, tries = time.monotonic() + BUSY_TIMEOUT_S, 0
    while True:
        tries += 1
        try:
            return dialect.connect(*args, **params)
        except dialect.loaded_dbapi.OperationalError as error:
            if tries == 1 and is_cut(error):
                continue
            if not any(words in str(error) for words in FULL) or time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(*FULL_RETRY_S))


def is_cut(error: Exception) -> bool:
    """Whether it is a connection that ended before its answer, by what it says: the next one may not."""
    return any(words in str(error) for words in CUT)


def _refuse_ended(connection: PsycopgConnection[Any], _record: object, _proxy: object) -> None:
    """A kept connection that the server has ended is replaced by a new one, without asking the server."""
    if _has_ended(connection):
        raise DisconnectionError("the server has ended this connection")


def _has_ended(connection: PsycopgConnection[Any]) -> bool:
    import psycopg

    poll = polling.poll()
    try:
        poll.register(connection.fileno(), polling.POLLIN)
        while poll.poll(0):
            connection.pgconn.consume_input()
    except psycopg.Error:
        return True
    return bool(connection.pgconn.status != psycopg.pq.ConnStatus.OK)


# -- transactions --------------------------------------------------------------------------------------------


@contextmanager
def one_exchange(connection: Connection) -> Iterator[None]:
    """A transaction of which statements are sent together, as far as nobody waits for their answers.

    What is queued when the block ends goes out with the COMMIT; an error of any of it is raised then.

    Raises:
        DBAPIError: of `BEGIN` or `COMMIT`, where that failed.
    """
    raw: Any = connection.connection.driver_connection
    kept, now = connection.info, "BEGIN"  # SQLAlchemy does not give the first once the connection has ended
    try:
        with raw.pipeline() as pipeline:
            kept[_PIPELINE] = pipeline
            raw.execute(now, prepare=False)
            try:
                yield
            finally:
                kept.pop(_PIPELINE, None)
            now = "COMMIT"
            raw.execute(now, prepare=False)
    except connection.dialect.loaded_dbapi.Error as error:
        raise _explain_failure(connection, now, error) from error


def _explain_failure(connection: Connection, statement: str, error: Exception) -> Exception:
    """As SQLAlchemy says it of a statement that it has sent itself."""
    dialect = connection.dialect
    lost = dialect.is_disconnect(error, connection.connection.dbapi_connection, None)  # type: ignore[arg-type]
    if lost:
        connection.invalidate(error)
    return DBAPIError.instance(
        statement, None, error, dialect.loaded_dbapi.Error, connection_invalidated=lost, dialect=dialect
    )


def _await_answer(
    connection: Connection, _cursor: object, _statement: str, _params: object, context: ExecutionContext,
    _many: bool,
) -> None:  # fmt: skip
    pipeline = connection.info.get(_PIPELINE)
    if pipeline is not None and not context.execution_options.get("queued"):
        pipeline.sync()


def is_lost_before_commit(error: DBAPIError) -> bool:
    """Whether the connection ended while the transaction had not, so that nothing can have been written."""
    return error.connection_invalidated and error.statement not in {None, "COMMIT"}


# -- tables --------------------------------------------------------------------------------------------------


def find_schema(engine: Engine) -> str | None:
    """The schema's number that the tables say, None where there are none."""
    query = select(meta.c.value).where(meta.c.key == "schema")
    try:
        with engine.connect() as connection:
            return connection.execute(query).scalar()
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", "") != "42P01":  # undefined_table
            raise
        return None


def make_tables(engine: Engine) -> None:
    """All tables in one message, each unless it is there: two that make one ledger take turns."""
    statements = [str(CreateTable(t, if_not_exists=True).compile(engine)) for t in metadata.sorted_tables]
    indexes = [index for table in metadata.sorted_tables for index in sorted(table.indexes, key=_index_name)]
    statements += [str(CreateIndex(index, if_not_exists=True).compile(engine)) for index in indexes]
    note = (
        f"INSERT INTO {meta.name} (key, value) VALUES ('schema', '{SCHEMA_VERSION}') ON CONFLICT DO NOTHING"
    )
    lock = f"SELECT pg_advisory_xact_lock({CREATION_LOCK})"
    with engine.connect() as connection:
        connection.exec_driver_sql(
            ";\n".join(["BEGIN", lock, *statements, note, "COMMIT"]),
            execution_options={"no_parameters": True},
        )


def _index_name(index: Any) -> str:
    return str(index.name)
