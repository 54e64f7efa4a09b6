"""Tables and texts in files: csv, jsonl, parquet, text. Large ones stream into a memory map, once a node."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import parquet

from trainers.data.dataset import Part
from trainers.data.disk.other_kinds import PARQUET, tell_kind_of
from trainers.data.disk.part_files import files_by_part, note_deeper, note_joined, submissions
from trainers.data.disk.paths import LARGE_BYTES, SOURCE_KEY, content_stamp, total_bytes
from trainers.data.disk.text_encodings import (
    describe_encoding,
    find_encoding,
    likely_encoding,
    propose_encoding,
    read_start,
)
from trainers.data.disk.unpacking import open_unpacked
from trainers.data.number_spellings import PLAIN, NumberMarks
from trainers.data.raw import RawDataset
from trainers.data.sources.csv_reading import read_rows
from trainers.data.sources.csv_rules import UNNAMED, CsvRules, find_rules
from trainers.data.sources.excel import read_excel
from trainers.data.sources.joining import (
    join_tables,
    leave_out_empty_files,
    leave_out_headers,
    leave_out_rowless,
    leave_out_unlabelled,
    leave_out_unnamed,
)
from trainers.data.sources.json_rows import read_jsonl
from trainers.data.split import PARTS
from trainers.errors import InputError
from trainers.nearest import nearest
from trainers.storage.shared_folders import shared_folder
from trainers.types import Json

ENDINGS = {
    "csv": (".csv", ".tsv"),
    "jsonl": (".jsonl", ".ndjson", ".json"),
    "parquet": (".parquet", ".pq"),
    "excel": (".xlsx", ".xlsm"),
    "text": (".txt", ".text", ".md"),
}
PACKABLE = ("csv", "jsonl", "text")  # Parquet and workbooks pack what they hold themselves
Batches = Iterator[pa.RecordBatch]


def read_files(scheme: str, path: Path, cache: Path, read: Mapping[str, Json]) -> RawDataset:
    """The rows of one file, or of a folder with a file for each part.

    Args:
        read: the sweep file's `data.read`.
    """
    found = files_by_part(path, ENDINGS[scheme], packed=scheme in PACKABLE)
    total_bytes([file for files in found.values() for file in files])
    found, empty = leave_out_empty_files(found) if scheme in PACKABLE else (found, [])
    paths = [file for files in found.values() for file in files]
    large = total_bytes(paths) > LARGE_BYTES
    folder = cache / "sources" / _cache_key(scheme, paths, read) if large else None
    rules = {file: find_rules(file, read) for file in paths} if scheme == "csv" else {}
    parts = [(part, file) for part, files in found.items() for file in files]
    read_notes: list[str] = []
    tables = [(part, _read_table(scheme, file, folder, rules.get(file), read_notes)) for part, file in parts]
    deeper = note_deeper(path, ENDINGS[scheme], paths)
    tables, repeated = leave_out_headers(tables, paths, rules)
    tables, paths, rowless = leave_out_rowless(tables, paths)
    tables, paths, notes = leave_out_unlabelled(tables, paths)
    notes += [*empty, *rowless, *deeper, *note_joined(found), *read_notes, *repeated]
    _check_same_columns(tables, paths)
    joined = join_tables([table for _, table in tables])
    first = next(iter(rules.values()), None)
    notes += [f"{file.name} is left out: it shows how answers are handed in" for file in submissions(path)]
    notes += [note for rule in rules.values() for note in rule.notes]
    joined, left_out = leave_out_unnamed(joined, first.unnamed if first else ())
    corpus = scheme == "text"
    return RawDataset(
        columns={name: joined[name] for name in joined.column_names},
        part=None if None in found else _part_of_each([(part, len(table)) for part, table in tables]),
        folder=folder,
        kind="corpus" if corpus else None,
        task="language-model" if corpus else None,
        marks=_number_marks(first),
        notes=(*notes, *left_out),
    )


def propose_reading(path: Path) -> dict[str, Json]:
    """`data.read` of separated fields where the first file is in an encoding that is not taken unasked."""
    first = next(iter(files_by_part(path, ENDINGS["csv"], packed=True).values()))[0]
    likely = likely_encoding(first)
    return {"encoding": likely} if likely else {}


def _part_of_each(lengths: Sequence[tuple[Part | None, int]]) -> npt.NDArray[np.int8]:
    return np.concatenate([np.full(rows, PARTS.index(name), np.int8) for name, rows in lengths if name])


def _number_marks(rules: CsvRules | None) -> NumberMarks:
    if rules is None:
        return NumberMarks()
    likely = "," if rules.delimiter == ";" else "."
    return NumberMarks(decimal=rules.decimal, thousands=rules.thousands, likely_decimal=likely)


def _cache_key(scheme: str, paths: list[Path], read: Mapping[str, Json]) -> str:
    facts: list[Json] = [[scheme, str(p.resolve()), *content_stamp(p.stat())] for p in paths]
    facts += [dict(read)] if read else []
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]


def _check_same_columns(tables: list[tuple[Part | None, pa.Table]], paths: list[Path]) -> None:
    first = tables[0][1].column_names
    for (_, table), path in zip(tables, paths, strict=True):
        if set(table.column_names) != set(first):
            odd = sorted(set(table.column_names) ^ set(first))
            found = f"{path.name} and {paths[0].name} differ in {', '.join(odd[:5])}"
            do = _advise_on_columns(path, [name for name in table.column_names if name not in first], first)
            raise InputError("all files of a source must have the same columns", found, do, key=SOURCE_KEY)


def _advise_on_columns(path: Path, own: Sequence[str], others: Sequence[str]) -> str:
    """What to do about the names of a file's columns that the first file does not have."""
    unnamed = any(name == UNNAMED.format(place) for place, name in enumerate(own, start=1))
    if unnamed or any(PLAIN.normalize(name) is not None for name in own):
        return f"{path.name} seems to have no header: write the names into its first line"
    renamed = {name: nearest(name, others) for name in own}
    said = ", ".join(f"{name} to {found}" for name, found in renamed.items() if found)
    return f"rename {said} in {path.name}?" if said else "give all the same columns, or take the file away"


def _read_table(
    scheme: str, path: Path, folder: Path | None, rules: CsvRules | None, notes: list[str]
) -> pa.Table:
    """The file's rows, in memory or, where a folder is given, memory-mapped from an Arrow file in it."""

    def read() -> Batches:
        if scheme in NOTED:
            return NOTED[scheme](path, notes)
        return READERS[scheme](path) if rules is None else read_rows(path, rules)

    try:
        if folder is None:
            batches = list(read())
            return pa.Table.from_batches(batches) if batches else pa.table({})
        number = hashlib.sha256(str(path).encode()).hexdigest()[:12]
        built = shared_folder(
            folder.with_name(f"{folder.name}-{number}"), lambda aside: _write_batches(read(), aside)
        )
    except (pa.ArrowException, UnicodeDecodeError, EOFError, OSError) as error:
        raise _unreadable(scheme, path, error) from error
    return pa.ipc.open_file(pa.memory_map(str(built / "table.arrow"))).read_all()


def _unreadable(scheme: str, path: Path, error: Exception) -> InputError:
    text, do = str(error).splitlines()[0], "save it as UTF-8" if isinstance(error, UnicodeDecodeError) else ""
    other = tell_kind_of(path) if isinstance(error, pa.ArrowInvalid) else None
    if scheme == "parquet" and other is not None and other[0] == PARQUET:  # it begins as one
        do = "it is cut or damaged: copy or write it again"
    elif other is not None:
        text, do = other
    elif scheme == "parquet":
        do = "fetch or write it again; tables of other kinds are csv:, jsonl: or excel:"
    return InputError(f"{path} must be a readable {scheme} file", text, do, key=SOURCE_KEY)


def _write_batches(batches: Batches, aside: Path) -> None:
    writer = None
    with pa.OSFile(str(aside / "table.arrow"), "wb") as file:
        for batch in batches:
            writer = writer or pa.ipc.new_file(file, batch.schema)
            writer.write_batch(batch)
        if writer is None:
            writer = pa.ipc.new_file(file, pa.schema([]))
        writer.close()


def _read_parquet(path: Path) -> Batches:
    with parquet.ParquetFile(path, memory_map=True) as file:
        names = file.schema_arrow.names
        if twice := sorted({name for name in names if names.count(name) > 1}):
            must, found = f"{path} must name each column once", f"{', '.join(map(repr, twice[:5]))} twice"
            raise InputError(must, found, "rename them before they are saved", key=SOURCE_KEY)
        for batch in file.iter_batches():
            yield _without_views(batch)


def _without_views(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Views, in which Arrow may keep strings and bytes, as what they show."""
    plain = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
    fields = [field.with_type(plain.get(field.type, field.type)) for field in batch.schema]
    return batch.cast(pa.schema(fields)) if any(kind in plain for kind in batch.schema.types) else batch


def _read_text(path: Path, notes: list[str]) -> Batches:
    from trainers.data.sources.blocks import text_blocks

    rows: list[str] = []
    start = read_start(path)
    encoding = find_encoding(path, start)
    notes += describe_encoding(path.name, encoding, start)
    with open_unpacked(path) as stream:
        for block in text_blocks(_read_lines(path, stream, encoding)):
            rows.append(block)
            if len(rows) == 1000:
                yield pa.RecordBatch.from_pydict({"text": pa.array(rows)})
                rows = []
    if rows:
        yield pa.RecordBatch.from_pydict({"text": pa.array(rows)})


def _read_lines(path: Path, stream: pa.NativeFile, encoding: str) -> Iterator[str]:
    text = io.TextIOWrapper(stream, encoding=encoding)  # however lines end, a text is the same
    number = 0
    try:
        while line := text.readline(1 << 16):
            number += line.endswith("\n")
            yield line
    except UnicodeDecodeError as error:
        likely = propose_encoding(read_start(path))
        do = f"save it as UTF-8{f'; its bytes look like {likely}' if likely else ''}"
        found = f"bytes after line {number:,} that are none"
        raise InputError(f"{path} must be text in {encoding}", found, do, key=SOURCE_KEY) from error


READERS: dict[str, Callable[[Path], Batches]] = {"jsonl": read_jsonl, "parquet": _read_parquet}
NOTED: dict[str, Callable[[Path, list[str]], Batches]] = {"excel": read_excel, "text": _read_text}
"""Those that have something to say of a file."""
