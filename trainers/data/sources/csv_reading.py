"""Rows of a file of separated fields, every value as text: kinds are decided over all rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pyarrow as pa
from pyarrow import csv as arrow

from trainers.data.disk.paths import SOURCE_KEY
from trainers.data.disk.text_encodings import propose_encoding, read_start
from trainers.data.disk.unpacking import open_unpacked
from trainers.data.sources.csv_rules import CsvRules
from trainers.errors import InputError

BLOCK_BYTES = 8 << 20


def read_rows(path: Path, rules: CsvRules) -> Iterator[pa.RecordBatch]:
    """The rows, a block at a time."""
    if rules.quote:
        _check_quotes(path, rules)

    try:
        with _open_bytes(path, rules) as stream:
            yield from arrow.open_csv(
                stream,
                read_options=arrow.ReadOptions(
                    block_size=BLOCK_BYTES, column_names=list(rules.names),
                    skip_rows=rules.skip if rules.comment is None else 0,
                    skip_rows_after_names=int(rules.header), encoding=_arrow_encoding(rules),
                ),
                parse_options=arrow.ParseOptions(
                    delimiter=rules.delimiter, newlines_in_values=True, quote_char=rules.quote or False
                ),
                convert_options=arrow.ConvertOptions(
                    column_types=dict.fromkeys(rules.names, pa.string()), strings_can_be_null=False
                ),
            )  # fmt: skip
    except (pa.ArrowInvalid, UnicodeError) as error:
        raise _locate_error(path, rules, str(error).splitlines()[0]) from error


def _arrow_encoding(rules: CsvRules) -> str:
    return "utf-8" if rules.comment or rules.encoding in ("utf-8-sig", "utf-8") else rules.encoding


def _open_bytes(path: Path, rules: CsvRules) -> pa.NativeFile:
    if rules.comment is None:
        return open_unpacked(path)
    return pa.PythonFile(_open_bare(path, rules, rules.comment), mode="r")


def open_text(path: Path, rules: CsvRules) -> IO[str]:
    """The rows and the header as text, line ends as they are; without comments and what comes before."""
    if rules.comment is not None:
        return io.TextIOWrapper(_open_bare(path, rules, rules.comment), encoding="utf-8", newline="")
    file = _open_whole(path, rules)
    for _ in range(rules.skip):
        file.readline()
    return file


def _open_bare(path: Path, rules: CsvRules, comment: str) -> IO[bytes]:
    """Bytes of UTF-8 from the header or the first row on: arrow passes over lines within a block alone."""
    bare: io.RawIOBase = _WithoutComments(_open_whole(path, rules), comment)
    file: IO[bytes] = io.BufferedReader(bare)
    for _ in range(rules.skip):
        file.readline()
    return file


def _open_whole(path: Path, rules: CsvRules) -> IO[str]:
    stream = open_unpacked(path)
    return io.TextIOWrapper(stream, encoding=rules.encoding, newline="")


def _check_quotes(path: Path, rules: CsvRules) -> None:
    """That no quote swallows rows: one that nothing closes, or that another row's closes."""
    if not _has_quotes(path, rules.quote.encode()):
        return
    csv.field_size_limit(1 << 30)
    with open_text(path, rules) as file:
        reader = rules.reader(file, strict=True)
        row: list[str] | None = []
        while row is not None:
            first = reader.line_num + 1
            try:
                row = next(reader, None)
            except csv.Error as error:
                if reader.line_num > first or "unexpected end" in str(error):
                    raise _open_quote(path, first + rules.skip, reader.line_num + rules.skip) from error


def _open_quote(path: Path, first: int, last: int) -> InputError:
    do = 'double the quotes within a field (""), or take them for letters: data.read: {quote: false}'
    found = f"one of line {first:,} that is open until line {last:,}"
    return InputError(f"each quote of {path} must be closed where its field ends", found, do, key=SOURCE_KEY)


def _has_quotes(path: Path, mark: bytes) -> bool:
    with open_unpacked(path) as stream:
        while block := bytes(stream.read(BLOCK_BYTES)):
            if mark in block:
                return True
    return False


class _WithoutComments(io.RawIOBase):
    """The bytes of the lines that are no comments."""

    def __init__(self, file: IO[str], mark: str) -> None:
        self._file, self._mark = file, mark
        self._held = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        """As much as fits of the next line that is no comment."""
        while not self._held:
            line = self._file.readline()
            if not line:
                return 0
            self._held = b"" if line.startswith(self._mark) else line.encode()
        count = min(len(buffer), len(self._held))
        buffer[:count] = self._held[:count]
        self._held = self._held[count:]
        return count


def _locate_error(path: Path, rules: CsvRules, said: str) -> InputError:
    """What the first row that does not fit is, and where."""
    width = len(rules.names)
    do = "quote fields that hold the delimiter or line ends, or say how it is read: data.read: {delimiter: …}"
    try:
        with open_text(path, rules) as file:
            reader = rules.reader(file)
            for row in reader:
                if row and len(row) != width:
                    line = reader.line_num + rules.skip
                    if row[0].startswith("#") or rules.names[0].startswith("#"):
                        do = "leave out lines of comments: data.read: {comment: '#'}"
                    elif not any(next_row for next_row in reader):
                        do = f"if line {line:,} is no row but a total or a note below the table, take it away"
                    elif len(row) == width + 1 and not row[-1].strip():
                        do = "rows end with a delimiter: end the header with one too"
                    elif any(field.lstrip() != field and field.lstrip()[:1] == rules.quote for field in row):
                        do = "take away the blanks before quotes: a field is quoted from its first sign on"
                    shown = rules.delimiter.join(row)[:60]
                    found = f"{len(row)} in line {line:,}: {shown}"
                    return InputError(
                        f"every row of {path} must have {width} fields", found, do, key=SOURCE_KEY
                    )
    except UnicodeError as error:
        name = propose_encoding(read_start(path)) or ("latin-1" if rules.encoding == "cp1252" else "cp1252")
        do = f"name the encoding: data.read: {{encoding: {name}}}"
        return InputError(f"{path} must be text in {rules.encoding}", str(error), do, key=SOURCE_KEY)
    except csv.Error as error:
        said = str(error)
    return InputError(f"{path} must be rows of separated fields", said, do, key=SOURCE_KEY)
