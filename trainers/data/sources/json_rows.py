"""Rows that are JSON objects: one a line, or all in one array."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from trainers.data.cell_values import spell_value
from trainers.data.disk.other_kinds import LONGEST_START, refuse_other_kinds
from trainers.data.disk.paths import SOURCE_KEY
from trainers.data.disk.unpacking import open_unpacked, refuse_unreadable
from trainers.errors import InputError
from trainers.types import Json, JsonObject

JSON_ROWS = 20_000
AS_OBJECTS = 'write each row as an object with its columns: {"size": 1.5, "label": "a"}'
DO = "with pandas: frame.to_json(path, orient='records', lines=True); with jq: jq -c '.[]'"


def parse_json(text: str) -> Json:
    """The JSON value of a text."""
    value: Json = json.loads(text, object_pairs_hook=unique_keys)
    if "\\ud" in text or "\\uD" in text:
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise ValueError("half a surrogate pair, which is no character") from None
    return value


def unique_keys(pairs: Sequence[tuple[str, Json]]) -> JsonObject:
    """The object of a parser's pairs.

    Raises:
        ValueError: a key stands there twice: readers take the first or the last, and whoever looked before
            may have seen another value than the model would.
    """
    read = dict(pairs)
    if len(read) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"an object must name each key once, but {ascii(twice)[:60]} stands there twice")
    return read


def read_jsonl(path: Path) -> Iterator[pa.RecordBatch]:
    """Every value as text, as in a csv file, so that a column may mix numbers and words."""
    names = _find_names(path)
    for rows in _read_rows(path):
        columns = {
            name: pa.array([spell_value(row.get(name)) for row in rows], pa.string()) for name in names
        }
        yield pa.RecordBatch.from_pydict(columns)


def _find_names(path: Path) -> list[str]:
    names: dict[str, None] = {}
    count, last = 0, None
    for rows in _read_rows(path):
        for row in rows:
            names.update(dict.fromkeys(row))
        count, last = count + len(rows), rows[-1] if rows else None
    if count == 1 and last and any(isinstance(value, (list, dict)) and value for value in last.values()):
        found = f"one object, of {', '.join(map(repr, list(last)[:5]))}, that holds lists or objects"
        raise InputError(f"{path} must hold an object a row", found, DO, key=SOURCE_KEY)
    return list(names)


def _read_rows(path: Path) -> Iterator[list[JsonObject]]:
    """The objects, `JSON_ROWS` at a time."""
    if is_json_array(path):
        array = read_json_array(path)
        yield from (array[at : at + JSON_ROWS] for at in range(0, len(array), JSON_ROWS))
        return
    rows: list[JsonObject] = []
    for number, line in read_json_lines(path):
        if line.strip():
            rows.append(read_json_row(line, path, number))
        if len(rows) == JSON_ROWS:
            yield rows
            rows = []
    if rows:
        yield rows


def read_json_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The file's lines with their numbers, however it is packed."""
    number = 0
    try:
        with refuse_unreadable(path), open_unpacked(path) as stream:
            for number, line in enumerate(io.TextIOWrapper(stream, encoding="utf-8-sig"), start=1):
                yield number, line
    except UnicodeDecodeError as error:
        raise refuse_encoding(path, number, error) from error


def refuse_encoding(path: Path, number: int, error: UnicodeDecodeError) -> InputError:
    """What to say of JSON that is not UTF-8, which is met behind the line of that number."""
    found = f"byte 0x{error.object[error.start]:02x} after line {number:,}"
    return InputError(f"{path} must be text in UTF-8", found, "save it as UTF-8", key=SOURCE_KEY)


def is_json_array(path: Path) -> bool:
    """Whether the file is one array of objects, and not an object a line.

    Raises:
        InputError: it is of another kind, or damaged.
    """
    with refuse_unreadable(path), open_unpacked(path) as stream:
        start = bytes(stream.read(LONGEST_START))
    refuse_other_kinds(path, start, "JSON objects, one a line or all in one array")
    return start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"["


def read_json_array(path: Path) -> list[JsonObject]:
    """The objects of such a file.

    Raises:
        InputError: it is no JSON, or holds something else.
    """
    must = f"{path} must hold JSON objects, one a line or all in one array"
    try:
        with refuse_unreadable(path), open_unpacked(path) as stream:
            rows = parse_json(bytes(stream.read()).decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise refuse_encoding(path, error.object[: error.start].count(b"\n"), error) from error
    except (ValueError, RecursionError) as error:
        raise InputError(must, str(error), AS_OBJECTS, key=SOURCE_KEY) from error
    assert isinstance(rows, list)
    odd = next((at for at, row in enumerate(rows) if not isinstance(row, dict)), None)
    if odd is not None:
        raise InputError(must, f"{type(rows[odd]).__name__} in place {odd + 1}", AS_OBJECTS, key=SOURCE_KEY)
    return [row for row in rows if isinstance(row, dict)]


def read_json_row(line: str, path: Path, number: int) -> JsonObject:
    """The object of a line.

    Raises:
        InputError: it is none; says in which line.
    """
    must = f"{path} must hold one JSON object a line"
    try:
        row = parse_json(line.strip())  # also of the sign that parts records in JSON text sequences
    except (ValueError, RecursionError) as error:
        raise InputError(must, f"line {number}: {error}", _advise(line.strip()), key=SOURCE_KEY) from error
    if not isinstance(row, dict):
        raise InputError(must, f"line {number}: {type(row).__name__}", AS_OBJECTS, key=SOURCE_KEY)
    return row


def _advise(line: str) -> str:
    if line in ("{", "[{"):
        return "each object must stand on one line: jq -c . FILE"
    if line.endswith(("},", "}]")):
        return "leave out the commas between lines, or put [ before the first and ] behind the last"
    if "}{" in line.replace(" ", ""):
        return "each object must stand on a line of its own: jq -c . FILE"
    if line.startswith("{") and not line.endswith("}"):
        return "the object does not end on its line: is the file cut, or has a text a line break in it?"
    if line.startswith(("//", "#")):
        return "leave out the comments"
    return "write each row by json.dumps, whose strings have double quotes"
