"""The tables of a source's files made one, whose types, names and targets may differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from trainers.data.cell_values import spell_value
from trainers.data.dataset import Part
from trainers.data.disk.paths import SOURCE_KEY
from trainers.data.sources.csv_rules import CsvRules
from trainers.errors import InputError
from trainers.wording import count_of

Tables = list[tuple["Part | None", pa.Table]]


def join_tables(tables: Sequence[pa.Table]) -> pa.Table:
    """All rows. A column that one file holds as words and another as numbers is words in all."""
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        spelt = [_spell_differing(table, tables) for table in tables]
        return pa.concat_tables(spelt, promote_options="permissive")


def _spell_differing(table: pa.Table, tables: Sequence[pa.Table]) -> pa.Table:
    for place, name in enumerate(table.column_names):
        held = [other for other in tables if name in other.column_names]
        if len({str(other.schema.field(name).type) for other in held}) > 1:
            words = pa.array([spell_value(value) for value in table[name].to_pylist()], pa.string())
            table = table.set_column(place, name, pa.chunked_array([words]))
    return table


def leave_out_empty_files(
    found: Mapping[Part | None, Sequence[Path]],
) -> tuple[dict[Part | None, list[Path]], list[str]]:
    """The files that have bytes, as programs that write a file a worker leave some without any."""
    empty = [file for files in found.values() for file in files if not file.stat().st_size]
    kept = {part: [file for file in files if file not in empty] for part, files in found.items()}
    return (
        (kept, _note_empty(empty, [part for part, files in kept.items() if not files]))
        if empty
        else (kept, [])
    )


def leave_out_rowless(tables: Tables, paths: Sequence[Path]) -> tuple[Tables, list[Path], list[str]]:
    """The tables that have rows, unless none has any."""
    empty = [path for (_, table), path in zip(tables, paths, strict=True) if not len(table)]
    if len(empty) in (0, len(tables)):
        return tables, list(paths), []
    kept = [(part, table) for part, table in tables if len(table)]
    without = {part for part, _ in tables} - {part for part, _ in kept}
    return kept, [path for path in paths if path not in empty], _note_empty(empty, sorted(map(str, without)))


def _note_empty(empty: Sequence[Path], without: Sequence[Part | str | None]) -> list[str]:
    names = ", ".join(path.name for path in empty[:5])
    if without:
        found, do = f"none in part {without[0]}: {names}", "take the file away, or fetch or write it again"
        raise InputError("every part must have rows", found, do, key=SOURCE_KEY)
    return [f"{count_of(len(empty), 'file')} without rows left out: {names}"]


def leave_out_unlabelled(tables: Tables, paths: Sequence[Path]) -> tuple[Tables, list[Path], list[str]]:
    """The files that can be learned from and judged by: not a test file that lacks one column of train, as
    competitions hand it out."""
    train = next((set(table.column_names) for part, table in tables if part == "train"), None)
    kept: Tables = []
    kept_paths: list[Path] = []
    notes = []
    for (part, table), path in zip(tables, paths, strict=True):
        lacking = sorted(train - set(table.column_names)) if train and part == "test" else []
        if len(lacking) == 1 and not set(table.column_names) - (train or set()):
            notes.append(
                f"{path.name} has no column {lacking[0]!r}: it is left out, for `velodrome predict` to answer"
            )
        else:
            kept.append((part, table))
            kept_paths.append(path)
    return kept, kept_paths, notes


def leave_out_headers(
    tables: Tables, paths: Sequence[Path], rules: Mapping[Path, CsvRules]
) -> tuple[Tables, list[str]]:
    """Without rows that are the header again, as files that were appended to each other have them."""
    kept: Tables = []
    notes = []
    for (part, table), path in zip(tables, paths, strict=True):
        alike = pa.chunked_array([], pa.bool_())
        if path in rules and rules[path].header and len(table):
            alike = pc.equal(pc.utf8_ltrim(table.columns[0], "\ufeff"), table.column_names[0])
        for column, name in zip(table.columns[1:], table.column_names[1:], strict=True):
            if not pc.any(alike).as_py():
                break
            alike = pc.and_(alike, pc.equal(column, name))
        if count := pc.sum(alike).as_py():
            notes.append(f"{count_of(count, 'row')} of {path.name} left out: its header again")
            table = table.filter(pc.invert(alike))
        kept.append((part, table))
    return kept, notes


def leave_out_unnamed(table: pa.Table, unnamed: Sequence[str]) -> tuple[pa.Table, list[str]]:
    """Without columns that have no name and hold nothing but the rows' numbers, or nothing at all."""
    notes = []
    for name in unnamed:
        why = _why_left_out(table[name]) if name in table.column_names else None
        if why:
            notes.append(f"{name} has no name and {why}: it is left out")
            table = table.drop_columns([name])
        else:
            notes.append(f"a column without a name is called {name!r}")
    return table, notes


def _why_left_out(column: pa.ChunkedArray) -> str | None:
    if pc.all(pc.equal(pc.fill_null(column, ""), "")).as_py():
        return "is empty"
    try:
        numbers = column.cast(pa.int64())
    except pa.ArrowInvalid:
        return None
    if numbers.null_count or len(pc.unique(numbers)) < len(numbers):
        return None
    return "numbers the rows"
