"""Writing one batch: the statements are put together and compiled once, since a sweep runs each of them
some times a trial and SQLAlchemy takes longer to build one than SQLite to run it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    Connection,
    CursorResult,
    Float,
    Insert,
    Label,
    Select,
    Table,
    Text,
    bindparam,
    cast,
    extract,
    func,
    insert,
    literal,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler

from infra.errors import LedgerUnavailable
from infra.ledger import schema
from infra.ledger.postgres import QUEUED
from infra.ledger.rows import Columns, SqlValue, trial_to_columns

if TYPE_CHECKING:
    from infra.ledger.batch import SweepChange, WriteBatch

DialectInsert: TypeAlias = postgresql.Insert | sqlite.Insert
Query: TypeAlias = Select[Any]  # of any columns

TRIAL_KEY = ("sweep_id", "role", "family", "number")
_STARTED = (
    "id", "sweep_id", "role", "family", "number", "ordinal", "lane", "lane_facts", "started_at", "ended_at",
    "outcome", "detail",
)  # fmt: skip
_ENDED = ("ended_at", "outcome", "detail")
_EVENT = ("sweep_id", "at", "kind", "role", "family", "number", "payload")


class SqlStatement:
    """SQL text for one driver, and the order in which it takes its parameters."""

    def __init__(
        self, clause: ClauseElement, dialect: Dialect, names: Sequence[str], *, queued: bool = False
    ) -> None:
        """Compiles it.

        Args:
            queued: nobody waits for its answer, where statements of a transaction can be sent together.
            names: of the parameters, where the clause itself does not have them all (an insert's columns).
        """
        compiled = clause.compile(dialect=dialect, column_keys=list(names) or None)
        assert isinstance(compiled, SQLCompiler)
        self._text, self._order = str(compiled), compiled.positiontup
        self._options = QUEUED if queued and dialect.name == "postgresql" else None

    def run(self, connection: Connection, *rows: Columns) -> CursorResult[int]:
        """Executes it once for each row of parameters; those that answer give one number."""
        taken = [self._bind_row(row) for row in rows]
        given = taken if len(taken) > 1 else taken[0]
        return connection.exec_driver_sql(self._text, given, execution_options=self._options)

    def _bind_row(self, row: Columns) -> dict[str, SqlValue] | tuple[SqlValue, ...]:
        return dict(row) if self._order is None else tuple(row[name] for name in self._order)


class BatchStatements:
    """What commits consist of, for one kind of database."""

    def __init__(self, dialect: Dialect) -> None:
        """Compiles them all."""

        def compile_clause(clause: ClauseElement, *names: str) -> SqlStatement:
            return SqlStatement(clause, dialect, names, queued=not isinstance(clause, Select))

        by_sweep: BindParameter[int] = bindparam("of_sweep")
        self.owner_epoch = compile_clause(
            select(schema.owners.c.epoch).where(schema.owners.c.sweep_id == by_sweep).with_for_update(),
            "of_sweep",
        )
        self.journal = compile_clause(_append_record(), "of_sweep", "text")
        self.event = compile_clause(insert(schema.events).inline(), *_EVENT)
        trial_columns = [column.name for column in schema.trials.columns]
        self.trial = compile_clause(upsert(dialect, schema.trials, trial_columns, TRIAL_KEY), *trial_columns)
        self.attempt_started = compile_clause(insert(schema.attempts).inline(), *_STARTED)
        self.attempt_ended = compile_clause(
            update(schema.attempts).where(schema.attempts.c.id == bindparam("of_attempt")),
            *_ENDED, "of_attempt",
        )  # fmt: skip


def _append_record() -> Insert:
    """A record behind the last one of its sweep, whose owner's row is locked meanwhile."""
    journal = schema.journal.c
    by_sweep = bindparam("of_sweep", type_=BigInteger)
    position = func.coalesce(func.max(journal.position) + literal_column("1"), literal_column("0"))
    row = select(by_sweep, position, bindparam("text", type_=Text)).where(journal.sweep_id == by_sweep)
    return insert(schema.journal).from_select([journal.sweep_id, journal.position, journal.record], row)


def upsert(dialect: Dialect, table: Table, columns: Sequence[str], keys: Sequence[str]) -> DialectInsert:
    """An insert of these columns that overwrites the row of the same key."""
    statement = _dialect_insert(dialect, table)
    changed = {name: statement.excluded[name] for name in columns if name not in keys}
    return statement.on_conflict_do_update(index_elements=list(keys), set_=changed)


def insert_missing(dialect: Dialect, table: Table) -> DialectInsert:
    """An insert that leaves a row of the same key as it is. It waits for whoever is just inserting that."""
    return _dialect_insert(dialect, table).on_conflict_do_nothing()


def _dialect_insert(dialect: Dialect, table: Table) -> DialectInsert:
    return postgresql.insert(table) if dialect.name == "postgresql" else sqlite.insert(table)


def database_clock(dialect: Dialect) -> ColumnElement[float]:
    """Seconds since 1970 by the clock that all of a database's clients share: the server's, where it has
    one. Those who open one SQLite file are on one machine."""
    if dialect.name == "postgresql":
        return cast(extract("epoch", func.clock_timestamp()), Float)
    return literal(time.time(), Float)


def select_owner(dialect: Dialect, sweep_id: int) -> Query:
    """For the owner's row as `owner_from_columns` reads it."""
    return select(schema.owners, _silence(dialect)).where(schema.owners.c.sweep_id == sweep_id)


def select_owned_facts(dialect: Dialect) -> Query:
    """For the facts of all sweeps that somebody owns, with their owners' rows."""
    owners, sweeps = schema.owners, schema.sweeps
    joined = owners.join(sweeps, sweeps.c.id == owners.c.sweep_id)
    query = select(owners, _silence(dialect), sweeps.c.facts).select_from(joined)
    return query.where(owners.c.token != "")


def _silence(dialect: Dialect) -> Label[float]:
    return (database_clock(dialect) - schema.owners.c.heartbeat_at).label("silent_s")


def write_batch(connection: Connection, sweep_id: int, batch: WriteBatch) -> None:
    """Writes all of a batch within the connection's transaction.

    Raises:
        LedgerUnavailable: a request that it answers was withdrawn meanwhile; what came of it must not stand.
    """
    _require_open(connection, batch.requests_done)
    use = dialect_statements(connection)
    if batch.journal:
        records: list[Columns] = [{"of_sweep": sweep_id, "text": text} for text in batch.journal]
        use.journal.run(connection, *records)
    if batch.trials:
        use.trial.run(connection, *(trial_to_columns(sweep_id, trial) for trial in batch.trials.values()))
    for attempt_id, columns in batch.attempts.items():
        _write_attempt(connection, sweep_id, attempt_id, columns)
    if batch.events:
        use.event.run(connection, *({"sweep_id": sweep_id, **event} for event in batch.events))
    if batch.sweep:
        _update_sweep(connection, sweep_id, batch.sweep)
    if batch.requests_done:
        done = update(schema.requests).where(schema.requests.c.id.in_(batch.requests_done))
        at = func.coalesce(schema.requests.c.done_at, schema.requests.c.created_at)
        connection.execute(done.values(done_at=at), execution_options=QUEUED)


def _require_open(connection: Connection, requests: Sequence[int]) -> None:
    asked = schema.requests.c
    still = select(asked.id).where(asked.id.in_(requests), asked.done_at.is_(None)).with_for_update()
    if requests and len(connection.execute(still).all()) < len(set(requests)):
        raise LedgerUnavailable("a request must be open when it is answered", "it was withdrawn meanwhile")


def lock_owner_epoch(connection: Connection, sweep_id: int) -> int | None:
    """The epoch of the sweep's owner row, which stays so until the transaction ends; None without one."""
    return dialect_statements(connection).owner_epoch.run(connection, {"of_sweep": sweep_id}).scalar()


def _write_attempt(connection: Connection, sweep_id: int, attempt_id: str, columns: Columns) -> None:
    use = dialect_statements(connection)
    if "started_at" in columns:
        whole: Columns = {**dict.fromkeys(_ENDED), **columns, "id": attempt_id, "sweep_id": sweep_id}
        use.attempt_started.run(connection, whole)
    else:
        use.attempt_ended.run(connection, {**columns, "of_attempt": attempt_id})


def _update_sweep(connection: Connection, sweep_id: int, change: SweepChange) -> None:
    values = dict(change)
    if "spec" in change:
        values["spec"] = json.dumps(change["spec"].to_json())
    if "facts" in change:
        values["facts"] = json.dumps(change["facts"])
    written = update(schema.sweeps).where(schema.sweeps.c.id == sweep_id).values(**values)
    connection.execute(written, execution_options=QUEUED)


def dialect_statements(connection: Connection) -> BatchStatements:
    """Those of the connection's kind of database."""
    dialect = connection.dialect
    kind = f"{dialect.name}+{dialect.driver}"
    if kind not in _known:
        _known[kind] = BatchStatements(dialect)
    return _known[kind]


_known: dict[str, BatchStatements] = {}
