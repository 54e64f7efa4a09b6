"""CSV: rows of fields, each as it was written."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pyarrow as pa

from infra.errors import WrongInput
from infra.predicting.format import (
    MOST_CHARACTERS,
    PartSizes,
    concatenate_files,
    json_values,
    split_rows,
    table_frame,
)
from infra.serving.model_schema import Field, ModelSchema
from trainers.data.sources.csv_reading import open_text
from trainers.data.sources.csv_rules import find_rules
from trainers.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from trainers.types import Cell, Json


class CsvFile:
    """A file of separated fields, read by the rules of a sweep's source."""

    def __init__(self, path: Path, said: Mapping[str, Json] | None = None) -> None:
        """The file, read as `data.read` says or as it looks.

        Raises:
            WrongInput: what is said does not fit the file, or it is no such file.
        """
        self.path = path
        self.ending = ".tsv" if ".tsv" in path.name.lower() else ".csv"
        with as_wrong_input():
            self._rules = find_rules(path, said)
        self.encoding = self._rules.encoding

    def columns(self) -> list[str]:
        """As `InputFormat`."""
        return list(self._rules.names)

    def parts(self, sizes: PartSizes) -> Iterator[pa.Table]:
        """As `InputFormat`."""
        with self._open_text() as file:
            rows = self._read_rows(file)
            header = next(rows) and self.columns() if self._rules.header else self.columns()
            for held in split_rows(rows, sizes, lambda row: sum(map(len, row))):
                columns = dict(zip(header, zip(*held, strict=True), strict=True))
                yield pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})

    def frame(self, part: pa.Table, fields: Sequence[Field]) -> pd.DataFrame:
        """As `InputFormat`."""
        return table_frame(part.to_pydict(), fields, usual="string")

    def write(self, part: pa.Table, predictions: pd.DataFrame, path: Path, *, first: bool) -> None:
        """As `InputFormat`."""
        write_csv(part, predictions, path, self._rules.delimiter, header=first)

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """As `InputFormat`."""
        concatenate_files(parts, path)

    def _open_text(self) -> IO[str]:
        return open_text(self.path, self._rules)

    def _read_rows(self, file: IO[str]) -> Iterator[list[str]]:
        csv.field_size_limit(MOST_CHARACTERS)
        reader = self._rules.reader(file, strict=True)
        width = len(self._rules.names)
        must = f"{self.path} must be CSV in {self._rules.encoding}"
        try:
            for row in reader:
                if row and len(row) != width:
                    found = f"{len(row)} in line {reader.line_num}"
                    do = "quote fields that hold the delimiter; take totals and notes below the table away"
                    raise WrongInput(f"every line of {self.path} must have {width} fields", found, do)
                if row:
                    yield row
        except UnicodeDecodeError as error:
            found = f"byte 0x{error.object[error.start]:02x} after line {reader.line_num}"
            raise WrongInput(must, found, "save it as UTF-8") from error
        except csv.Error as error:
            do = 'double the quotes within a field ("")'
            raise WrongInput(must, f"line {reader.line_num}: {error}", do) from error


def read_as_trained(path: Path, schema: ModelSchema) -> CsvFile | None:
    """The file by the rules of the model's training file, with or without its target; None where it does not
    have the model's columns then either."""
    names = schema.read.get("names")
    tried = [dict(schema.read)]
    if isinstance(names, Sequence) and schema.target in names:
        tried.append({**schema.read, "names": [name for name in names if name != schema.target]})
    for said in tried:
        with suppress(WrongInput):
            file = CsvFile(path, said)
            if {field.name for field in schema.fields} <= set(file.columns()):
                return file
    return None


@contextmanager
def as_wrong_input() -> Iterator[None]:
    """What training's readers refuse, as wrong input."""
    try:
        yield
    except InputError as error:
        raise WrongInput(error.must, error.found, error.do) from error


def _field_values(column: pd.Series) -> list[Cell]:
    """A prediction's values; lists as JSON, which others can read."""
    return [json.dumps(value) if isinstance(value, list) else value for value in json_values(column)]


def write_csv(part: pa.Table, predictions: pd.DataFrame, path: Path, delimiter: str, *, header: bool) -> None:
    """The part's fields and the predictions, a line a row."""
    columns = [part.column(name).to_pylist() for name in part.column_names]
    columns += [_field_values(predictions[name]) for name in predictions.columns]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        if header:
            writer.writerow([*part.column_names, *predictions.columns])
        writer.writerows(zip(*columns, strict=True))
