"""Tables and texts in files: csv, jsonl, parquet, text. Large ones stream into a memory map, once a node."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from trainers.data.cell_values import spell_value
from trainers.data.dataset import Part
from trainers.data.raw import RawDataset
from trainers.data.sources.paths import LARGE_BYTES, SOURCE_KEY, files_by_part, require_path, total_bytes
from trainers.data.split import PARTS
from trainers.errors import InputError
from trainers.storage.shared_folders import shared_folder
from trainers.types import JsonObject

ENDINGS = {
    "csv": (".csv", ".tsv", ".csv.gz", ".tsv.gz"),
    "jsonl": (".jsonl", ".ndjson", ".json", ".jsonl.gz"),
    "parquet": (".parquet", ".pq"),
    "text": (".txt", ".text", ".md"),
}
JSON_ROWS = 20_000
Batches = Iterator[pa.RecordBatch]


def read_files(scheme: str, path: Path, cache: Path) -> RawDataset:
    """The rows of one file, or of a folder with a file for each part."""
    found = files_by_part(require_path(path), ENDINGS[scheme])
    paths = [file for files in found.values() for file in files]
    large = total_bytes(paths) > LARGE_BYTES
    folder = cache / "sources" / _cache_key(scheme, paths) if large else None
    tables = [(part, _read_table(scheme, file, folder)) for part, files in found.items() for file in files]
    _check_same_columns(tables, paths)
    joined = pa.concat_tables([table for _, table in tables], promote_options="permissive")
    part = None
    if None not in found:
        part = np.concatenate(
            [np.full(len(table), PARTS.index(name), np.int8) for name, table in tables if name]
        )
    corpus = scheme == "text"
    return RawDataset(
        columns={name: joined[name] for name in joined.column_names},
        part=part,
        folder=folder,
        kind="corpus" if corpus else None,
        task="language-model" if corpus else None,
    )


def _cache_key(scheme: str, paths: list[Path]) -> str:
    facts = [(scheme, str(p.resolve()), p.stat().st_size, p.stat().st_mtime_ns) for p in paths]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:24]


def _check_same_columns(tables: list[tuple[Part | None, pa.Table]], paths: list[Path]) -> None:
    first = tables[0][1].column_names
    for (_, table), path in zip(tables, paths, strict=True):
        if set(table.column_names) != set(first):
            odd = sorted(set(table.column_names) ^ set(first))
            found = f"{path.name} and {paths[0].name} differ in {', '.join(odd[:5])}"
            raise InputError("all files of a source must have the same columns", found, key=SOURCE_KEY)


def _read_table(scheme: str, path: Path, folder: Path | None) -> pa.Table:
    """The file's rows, in memory or, where a folder is given, memory-mapped from an Arrow file in it."""
    read = READERS[scheme]
    try:
        if folder is None:
            batches = list(read(path))
            return pa.Table.from_batches(batches) if batches else pa.table({})
        number = hashlib.sha256(str(path).encode()).hexdigest()[:12]
        built = shared_folder(
            folder.with_name(f"{folder.name}-{number}"), lambda aside: _write_batches(read(path), aside)
        )
    except (pa.ArrowException, UnicodeDecodeError, EOFError, OSError) as error:
        text = str(error).splitlines()[0]
        raise InputError(f"{path} must be a readable {scheme} file", text, key=SOURCE_KEY) from error
    return pa.ipc.open_file(pa.memory_map(str(built / "table.arrow"))).read_all()


def _write_batches(batches: Batches, aside: Path) -> None:
    writer = None
    with pa.OSFile(str(aside / "table.arrow"), "wb") as file:
        for batch in batches:
            writer = writer or pa.ipc.new_file(file, batch.schema)
            writer.write_batch(batch)
        if writer is None:
            writer = pa.ipc.new_file(file, pa.schema([]))
        writer.close()


def _read_csv(path: Path) -> Batches:
    """Every value as text: kinds are decided over all rows, not by the first block."""
    from pyarrow import csv

    delimiter = _detect_delimiter(path)
    header = _read_header(path, delimiter)
    if len(set(header)) != len(header) or not all(header):
        found = ", ".join(repr(name) for name in header[:20])
        raise InputError(f"the first line of {path} must name each column once", found, key=SOURCE_KEY)
    reader = csv.open_csv(
        path,
        read_options=csv.ReadOptions(block_size=8 << 20),
        parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=False
        ),
    )
    return iter(reader)


def _detect_delimiter(path: Path) -> str:
    if ".tsv" in path.name:
        return "\t"
    line = _read_first_line(path)
    counts = {mark: line.count(mark) for mark in (",", ";", "\t")}
    best = max(counts, key=lambda mark: counts[mark])
    return best if counts[best] else ","


def _read_first_line(path: Path) -> str:
    with pa.input_stream(str(path), compression="detect") as stream:
        start = stream.read(1 << 20).decode("utf-8-sig", errors="replace")
    return str(start.split("\n")[0]).rstrip("\r")


def _read_header(path: Path, delimiter: str) -> list[str]:
    import csv

    line = _read_first_line(path)
    return next(csv.reader([line], delimiter=delimiter), [])


def _read_jsonl(path: Path) -> Batches:
    """Every value as text, as in a csv file, so that a column may mix numbers and words."""
    names = _json_names(path)
    for rows in _json_rows(path):
        columns = {
            name: pa.array([spell_value(row.get(name)) for row in rows], pa.string()) for name in names
        }
        yield pa.RecordBatch.from_pydict(columns)


def _json_names(path: Path) -> list[str]:
    names: dict[str, None] = {}
    for rows in _json_rows(path):
        for row in rows:
            names.update(dict.fromkeys(row))
    return list(names)


def _json_rows(path: Path) -> Iterator[list[JsonObject]]:
    import io

    rows: list[JsonObject] = []
    with pa.input_stream(str(path), compression="detect") as stream:
        for number, line in enumerate(io.TextIOWrapper(stream, encoding="utf-8-sig"), start=1):
            if line.strip():
                rows.append(_json_row(line, path, number))
            if len(rows) == JSON_ROWS:
                yield rows
                rows = []
    if rows:
        yield rows


def _json_row(line: str, path: Path, number: int) -> JsonObject:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} must hold one JSON object a line", f"line {number}: {error}", key=SOURCE_KEY
        ) from error
    if not isinstance(row, dict):
        found = f"line {number}: {type(row).__name__}"
        raise InputError(f"{path} must hold one JSON object a line", found, key=SOURCE_KEY)
    return row


def _read_parquet(path: Path) -> Batches:
    from pyarrow import parquet

    with parquet.ParquetFile(path, memory_map=True) as file:
        yield from file.iter_batches()


def _read_text(path: Path) -> Batches:
    from trainers.data.sources.blocks import text_blocks

    rows: list[str] = []
    with pa.input_stream(str(path), compression="detect") as stream:
        for block in text_blocks(_read_lines(stream)):
            rows.append(block)
            if len(rows) == 1000:
                yield pa.RecordBatch.from_pydict({"text": pa.array(rows)})
                rows = []
    if rows:
        yield pa.RecordBatch.from_pydict({"text": pa.array(rows)})


def _read_lines(stream: pa.NativeFile) -> Iterator[str]:
    import io

    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    while line := text.readline(1 << 16):
        yield line


READERS: dict[str, Callable[[Path], Batches]] = {
    "csv": _read_csv,
    "jsonl": _read_jsonl,
    "parquet": _read_parquet,
    "text": _read_text,
}
