"""The tables of a ledger, which other versions of Velodrome read and write too."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateIndex, CreateTable

from infra.ledger.schema import SCHEMA_VERSION, metadata


def test_tables_of_a_schema_version_are_those_of_its_first_ledger() -> None:
    """A change of a length, a key or of what may be empty needs another number: there are such ledgers."""
    made = []
    for table in sorted(metadata.tables.values(), key=lambda table: table.name):
        made.append(str(CreateTable(table).compile(dialect=postgresql.dialect())))  # type: ignore[no-untyped-call]
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            made.append(str(CreateIndex(index).compile(dialect=postgresql.dialect())))  # type: ignore[no-untyped-call]
    written = Path(__file__).with_name(f"schema_{SCHEMA_VERSION}.sql").read_text()
    assert " ".join(" ".join(made).split()) == " ".join(written.replace(";", "").split())


def test_serial_keys_count_up_in_sqlite_too() -> None:
    """Of SQLite's types INTEGER alone does."""
    for name in ("sweeps", "requests", "events"):
        (key,) = metadata.tables[name].primary_key.columns
        assert key.type.compile(dialect=sqlite.dialect()) == "INTEGER"  # type: ignore[no-untyped-call]
