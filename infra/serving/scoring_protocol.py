"""MLflow's scoring protocol: from a request's body to columns of rows, in plain Python.

No frame is made here: a frame of one row costs more than many a model, so requests stay lists until a whole
batch becomes one frame. Bodies: https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally/
"""

from __future__ import annotations

import csv
import functools
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.message import Message
from typing import NoReturn, TypeAlias, TypeGuard, TypeVar

import numpy as np

from infra.serving.column_values import check_values
from infra.serving.limits import RequestLimits, ScoringError, bad_request
from infra.serving.model_schema import Field
from trainers.data.sources.json_rows import unique_keys
from trainers.types import Cell, Json

FORMATS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_SHOWN = 5
_LONGEST_TYPE = 200
_MOST_UNLIKE = 8  # cells of a table for each value that is given
_MARKS = re.compile(rb'["\[\]{}]')
_OPEN, _CLOSE = tuple(b"[{"), tuple(b"]}")
_CLOSING = re.compile(rb'(?:[^"\\]|\\.)*"', re.DOTALL)

Entry = TypeVar("Entry")
Columns: TypeAlias = "dict[str, list[Cell]]"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRows:
    """The rows of one request, by column; `count` of them, at least one."""

    columns: Columns
    count: int


def read_rows(body: bytes, content_type: str, fields: Sequence[Field], limits: RequestLimits) -> RequestRows:
    """The rows in a request's body.

    Args:
        fields: what the model takes; none where it does not say, and then whatever is given goes to it.
    """
    kind = media_type(content_type)
    columns = _parse_csv(body) if kind == "text/csv" else _parse_json_rows(body, fields, limits)
    return check_rows(columns, fields, limits)


def check_rows(columns: Columns, fields: Sequence[Field], limits: RequestLimits) -> RequestRows:
    """Columns of a request as rows that the model takes, whatever protocol brought them."""
    count = _count_rows(columns, limits)
    if not fields:
        return RequestRows(columns=columns, count=count)
    _check_present(columns, fields)
    typed = {field.name: check_values(field.name, field.type, columns[field.name]) for field in fields}
    return RequestRows(columns=typed, count=count)


@functools.lru_cache(maxsize=64)
def media_type(content_type: str, known: Sequence[str] = ("application/json", "text/csv")) -> str:
    """What a body says that it is; JSON where it says nothing.

    Raises:
        ScoringError: 415, it is none of those that are known, or not in UTF-8.
    """
    if len(content_type) > _LONGEST_TYPE:  # reading its parameters takes the square of its length
        raise ScoringError(415, f"Content-Type must have at most {_LONGEST_TYPE} characters")
    message = Message()
    message["content-type"] = content_type or "application/json"
    kind = message.get_content_type()
    if kind not in known:
        raise ScoringError(415, f"Content-Type must be {' or '.join(known)}, but got {content_type[:80]!r}")
    charset = str(message.get_param("charset", "utf-8")).lower()
    if charset not in ("utf-8", "utf8", "us-ascii"):
        raise ScoringError(415, f"charset must be utf-8, but got {charset[:40]!r}")
    return kind


def _count_rows(columns: Columns, limits: RequestLimits) -> int:
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        raise bad_request(f"all columns must have as many rows, but got {sorted(lengths)[:_SHOWN]}")
    count = lengths.pop() if lengths else 0
    if not count:
        raise bad_request("a request must have at least one row, but got none")
    _check_count(count, limits)
    return count


def _check_count(count: int, limits: RequestLimits) -> None:
    if count > limits.rows:
        raise ScoringError(413, f"a request must have at most {limits.rows} rows, but got {count}")


def _check_present(columns: Columns, fields: Sequence[Field]) -> None:
    missing = [field.name for field in fields if field.name not in columns]
    if missing:
        raise bad_request(
            f"rows must have the columns {_join_names(f.name for f in fields)}, "
            f"but {_join_names(missing)} is missing among {_join_names(columns)}"
        )


def _join_names(names: Iterable[str]) -> str:
    listed = [ascii(name)[:60] for name in names]
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more


def _parse_csv(body: bytes) -> Columns:
    try:
        rows = list(csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise bad_request(f"the body must be CSV in UTF-8: {error}") from None
    header, *lines = [row for row in rows if row] or [[]]
    if len(set(header)) != len(header) or not all(header):
        raise bad_request(f"the first line must name each column once, but got {_join_names(header)}")
    odd = next((number for number, line in enumerate(lines, 2) if len(line) != len(header)), None)
    if odd is not None:
        raise bad_request(
            f"every line must have {len(header)} fields, but line {odd} has {len(lines[odd - 2])}"
        )
    return {name: [_Text(line[i]) for line in lines] for i, name in enumerate(header)}


class _Text(str):
    """A field of a CSV file: text that may stand for a number."""

    __slots__ = ()


def _parse_json_rows(body: bytes, fields: Sequence[Field], limits: RequestLimits) -> Columns:
    document = parse_json(body, limits)
    if not isinstance(document, dict):
        raise bad_request(f"the body must be a JSON object, but got {kind_name(document)}")
    given = [name for name in FORMATS if name in document]
    unknown = set(document) - set(FORMATS) - {"params"}
    if len(given) != 1 or unknown:
        raise bad_request(
            f"the body must have exactly one of {', '.join(FORMATS)}, and beside it only params; "
            f"but got {_join_names(document) or 'nothing'}"
        )
    if not isinstance(document.get("params", {}), dict):
        raise bad_request(f"params must be an object, but got {kind_name(document['params'])}")
    content = document[given[0]]
    _check_count(len(content) if isinstance(content, list) else 0, limits)
    return _READERS[given[0]](content, [field.name for field in fields])


def parse_json(body: bytes, limits: RequestLimits) -> Json:
    """A body's document."""
    if _is_too_deep(body, limits.depth):
        raise bad_request(f"a JSON body must be at most {limits.depth} brackets deep")
    try:
        document: Json = json.loads(body, parse_constant=_reject_constant, object_pairs_hook=unique_keys)
        return document
    except RecursionError:
        raise bad_request(f"a JSON body must be at most {limits.depth} brackets deep") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise bad_request(f"the body must be JSON: {str(error)[:200]}") from None


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON; write null where a value is missing")


def _is_too_deep(body: bytes, most: int) -> bool:
    """Whether brackets open more than `most` deep; brackets in strings do not count.

    Counting all of them, which is quick, nearly always tells already.
    """
    if body.count(b"[") + body.count(b"{") <= most or _bracket_depth(body) <= most:
        return False
    depth, position, end = 0, 0, len(body)
    for found in _MARKS.finditer(body):
        if found.start() < position:
            continue
        mark = found[0]
        if mark == b'"':
            closing = _CLOSING.match(body, found.end())
            position = closing.end() if closing else end
            continue
        depth += 1 if mark in b"[{" else -1
        if depth > most:
            return True
    return False


def _bracket_depth(body: bytes) -> int:
    marks = np.frombuffer(body, dtype=np.uint8)
    steps = np.isin(marks, _OPEN).astype(np.int8) - np.isin(marks, _CLOSE).astype(np.int8)
    return int(np.cumsum(steps, dtype=np.int32).max(initial=0))


def kind_name(value: Json) -> str:
    """What kind of JSON value it is, with its article."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def _is_list_of(given: Json, kind: type[Entry]) -> TypeGuard[list[Entry]]:
    return isinstance(given, list) and all(isinstance(entry, kind) for entry in given)


def _read_split(given: Json, _names: Sequence[str]) -> Columns:
    if not isinstance(given, dict) or set(given) - {"columns", "index", "data"}:
        raise bad_request("dataframe_split must be an object of columns, data and, if wanted, index")
    names, data = given.get("columns"), given.get("data")
    if not _is_list_of(names, str):
        raise bad_request("dataframe_split.columns must be a list of names")
    if len(set(names)) != len(names):
        raise bad_request("dataframe_split.columns must name each column once")
    return _columns_by_position(data, names, "dataframe_split.data")


def _read_records(given: Json, wanted: Sequence[str]) -> Columns:
    """Rows by name; where they differ, what a model does not take is not written out for all of them."""
    if not _is_list_of(given, dict):
        raise bad_request("dataframe_records must be a list of objects")
    if not given:
        return {}
    names = list(given[0])
    if any(row.keys() != given[0].keys() for row in given[1:]):
        names = list(dict.fromkeys(name for row in given for name in row))
        if wanted and set(wanted) <= set(names):
            names = list(wanted)
        else:
            _check_likeness(len(names) * len(given), sum(map(len, given)))
    return {name: [row.get(name) for row in given] for name in names}


def _check_likeness(cells: int, values: int) -> None:
    """Refuses rows without a column in common: as a table they would be the square of what was sent."""
    if cells > _MOST_UNLIKE * values + 10_000:
        raise bad_request(f"rows must have the same columns, but {values} values would fill {cells} cells")


def _read_instances(given: Json, names: Sequence[str]) -> Columns:
    if isinstance(given, dict):
        return _read_columns(given)
    if not isinstance(given, list):
        raise bad_request(f"instances must be a list, but got {kind_name(given)}")
    if given and _is_list_of(given, dict):
        return _read_records(given, names)
    return _name_columns(given, names, "instances")


def _read_inputs(given: Json, names: Sequence[str]) -> Columns:
    if isinstance(given, dict):
        return _read_columns(given)
    if not isinstance(given, list):
        raise bad_request(f"inputs must be an object of columns or a list, but got {kind_name(given)}")
    return _read_instances(given, names)


def _read_columns(given: Mapping[str, Json]) -> Columns:
    return {name: values if isinstance(values, list) else [values] for name, values in given.items()}


def _name_columns(given: list[Json], names: Sequence[str], what: str) -> Columns:
    """Rows without names: values of the only column, or lists of values in the columns' order."""
    if len(names) == 1:
        return {names[0]: given}
    if not names:
        raise bad_request(f"{what} must name its columns, for the model has no signature")
    return _columns_by_position(given, names, what)


def _columns_by_position(data: Json, names: Sequence[str], what: str) -> Columns:
    if not _is_list_of(data, list):
        raise bad_request(f"{what} must be a list of rows, each a list of {len(names)} values")
    odd = next((number for number, row in enumerate(data) if len(row) != len(names)), None)
    if odd is not None:
        raise bad_request(
            f"each row of {what} must have {len(names)} values, but row {odd} has {len(data[odd])}"
        )
    return {name: [row[i] for row in data] for i, name in enumerate(names)}


_READERS = {
    "dataframe_split": _read_split,
    "dataframe_records": _read_records,
    "instances": _read_instances,
    "inputs": _read_inputs,
}
