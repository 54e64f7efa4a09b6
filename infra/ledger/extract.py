"""One sweep's rows in a ledger of their own: a SQLite file that travels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection, RowMapping, Table, insert, select

from infra.ledger import schema
from infra.ledger.database import explain_errors, read_as_of_now
from infra.ledger.rows import SqlValue
from infra.ledger.store import Ledger

_OF_A_SWEEP = (schema.journal, schema.trials, schema.attempts, schema.events)
_ROWS = 1_000


def extract_sweep(
    ledger: Ledger, sweep_id: int, path: Path, *, facts: str, clean: Callable[[str], str] = lambda text: text
) -> None:
    """Writes a new ledger with one sweep in it: no owner, and no request that nobody has answered.

    Args:
        path: must not exist.
        facts: the sweep's facts there, as JSON: paths of this machine mean nothing elsewhere.
        clean: applied to every text.

    Raises:
        LedgerUnavailable: the ledger cannot be read, or the file cannot be written.
    """
    target = Ledger(f"sqlite:///{path}", create=True)
    try:
        with (
            explain_errors(ledger.engine, "the ledger must be readable", "is its server up?"),
            read_as_of_now(ledger.engine) as source,
        ):
            known = source.execute(select(schema.sweeps).where(schema.sweeps.c.id == sweep_id)).mappings()
            rows = [{**_clean_row(row, clean), "facts": facts} for row in known]
            target.run_transaction(lambda into: into.execute(insert(schema.sweeps), rows))
            for table in _OF_A_SWEEP:
                _copy_table(source, target, table, sweep_id, clean)
    finally:
        target.close()


def _copy_table(
    source: Connection, target: Ledger, table: Table, sweep_id: int, clean: Callable[[str], str]
) -> None:
    query = select(table).where(table.c.sweep_id == sweep_id).order_by(*table.primary_key.columns)
    for page in source.execute(query).mappings().partitions(_ROWS):
        rows = [_clean_row(row, clean) for row in page]
        target.run_transaction(lambda into, rows=rows: into.execute(insert(table), rows))  # type: ignore[misc]


def _clean_row(row: RowMapping, clean: Callable[[str], str]) -> dict[str, SqlValue]:
    return {str(name): clean(value) if isinstance(value, str) else value for name, value in row.items()}
