"""Files that are read line by line: an object a line, or a text a line."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from infra.errors import WrongInput
from infra.predicting.format import (
    MOST_CHARACTERS,
    InputFormat,
    PartSizes,
    as_wrong_input,
    json_values,
    single_column_frame,
    split_rows,
    table_frame,
)
from infra.serving.model_schema import Field
from trainers.data.disk.text_encodings import describe_encoding, find_encoding, read_start
from trainers.data.disk.unpacking import open_unpacked, refuse_unreadable
from trainers.data.sources.json_rows import is_json_array, read_json_array, read_json_row
from trainers.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from trainers.types import Cell

LINE = "line"


class JsonLines(InputFormat):
    """A JSON object a line, or an array of them; lines without anything are passed over."""

    ending = ".jsonl"

    def columns(self) -> list[str]:
        """As `InputFormat`: the names of all objects, for each may leave some out."""
        names: dict[str, None] = {}
        for number, line in _object_lines(self.path):
            names.update(dict.fromkeys(_parse_line(line, self.path, number)))
        return list(names)

    def parts(self, sizes: PartSizes) -> Iterator[pa.Table]:
        """As `InputFormat`."""
        lines = (line for _, line in _object_lines(self.path))
        for held in split_rows(lines, sizes, len):
            yield pa.table({LINE: pa.array(held, pa.string())})

    def frame(self, part: pa.Table, fields: Sequence[Field]) -> pd.DataFrame:
        """As `InputFormat`; what an object leaves out is missing."""
        lines = enumerate(part.column(LINE).to_pylist(), 1)  # `columns` has looked at all of them
        rows = [_parse_line(line, self.path, number) for number, line in lines]
        names = [field.name for field in fields] or list(dict.fromkeys(n for row in rows for n in row))
        return table_frame({name: [row.get(name) for row in rows] for name in names}, fields, usual="any")

    def write(self, part: pa.Table, predictions: pd.DataFrame, path: Path, *, first: bool) -> None:
        """As `InputFormat`: each line as it was, with more before its last brace."""
        with path.open("w", encoding="utf-8") as file:
            for line, added in zip(
                part.column(LINE).to_pylist(), _prediction_objects(predictions), strict=True
            ):
                before = line[:-1].rstrip()
                comma = "" if before == "{" else ", "
                file.write(f"{before}{comma}{added[1:]}\n")


class TextLines(InputFormat):
    """A text a line; empty lines count, so that the output's lines are the input's."""

    ending = ".jsonl"

    def columns(self) -> list[str]:
        """As `InputFormat`."""
        return ["text"]

    def parts(self, sizes: PartSizes) -> Iterator[pa.Table]:
        """As `InputFormat`."""
        with as_wrong_input():
            encoding = find_encoding(self.path, read_start(self.path))
        lines = (line for _, line in _read_lines(self.path, encoding))
        for held in split_rows(lines, sizes, len):
            yield pa.table({LINE: pa.array(held, pa.string())})

    def notes(self) -> list[str]:
        """What there is to say of its encoding, which training says of its own files."""
        with as_wrong_input():
            start = read_start(self.path)
            return describe_encoding(self.path.name, find_encoding(self.path, start), start)

    def frame(self, part: pa.Table, fields: Sequence[Field]) -> pd.DataFrame:
        """As `InputFormat`: the lines as the model's only column."""
        return single_column_frame(part.column(LINE).to_pylist(), fields, self.path)

    def write(self, part: pa.Table, predictions: pd.DataFrame, path: Path, *, first: bool) -> None:
        """As `InputFormat`: objects with the text and its predictions."""
        with path.open("w", encoding="utf-8") as file:
            for line, added in zip(
                part.column(LINE).to_pylist(), _prediction_objects(predictions), strict=True
            ):
                text = json.dumps({"text": line}, ensure_ascii=False)
                file.write(f"{text[:-1]}, {added[1:]}\n")


def _object_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The objects, each as a line with its number; those of an array are written anew."""
    with as_wrong_input():
        if is_json_array(path):
            rows = enumerate(read_json_array(path), 1)
            yield from ((at, json.dumps(row, ensure_ascii=False)) for at, row in rows)
            return
    yield from ((at, line.strip()) for at, line in _read_lines(path, "utf-8-sig") if line.strip())


def _read_lines(path: Path, encoding: str) -> Iterator[tuple[int, str]]:
    """Lines without their ends, and their numbers."""
    number = 0
    try:
        with as_wrong_input(), refuse_unreadable(path), open_unpacked(path) as stream:
            file = io.TextIOWrapper(stream, encoding=encoding)  # lines end as they do in training
            while line := file.readline(MOST_CHARACTERS):
                number += 1
                if len(line) >= MOST_CHARACTERS:
                    must = f"a line of {path} must have at most {MOST_CHARACTERS} characters"
                    raise WrongInput(must, f"more in line {number}")
                yield number, line.rstrip("\r\n")
    except UnicodeDecodeError as error:
        name = "UTF-8" if encoding == "utf-8-sig" else encoding
        found = f"byte 0x{error.object[error.start]:02x} after line {number}"
        raise WrongInput(f"{path} must be text in {name}", found, "save it as UTF-8") from error


def _parse_line(line: str, path: Path, number: int) -> Mapping[str, Cell]:
    try:
        return read_json_row(line, path, number)
    except InputError as error:
        raise WrongInput(error.must, error.found[:200], error.do) from error


def _prediction_objects(predictions: pd.DataFrame) -> Iterator[str]:
    names = [str(name) for name in predictions.columns]
    for values in zip(*(json_values(predictions[name]) for name in predictions.columns), strict=True):
        yield json.dumps(dict(zip(names, values, strict=True)), ensure_ascii=False)
