"""CSV: rows of fields, each as it was written."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pyarrow as pa

from infra.errors import WrongInput
from infra.predicting.format import (
    MOST_CHARACTERS,
    InputFormat,
    PartSizes,
    as_wrong_input,
    split_rows,
    table_frame,
)
from infra.serving.model_schema import Field, ModelSchema
from trainers.data.sources.csv_reading import open_text
from trainers.data.sources.csv_rules import find_rules

if TYPE_CHECKING:
    import pandas as pd

    from trainers.types import Json


class CsvFile(InputFormat):
    """A file of separated fields, read by the rules of a sweep's source."""

    def __init__(self, path: Path, said: Mapping[str, Json] | None = None) -> None:
        """The file, read as `data.read` says or as it looks.

        Raises:
            WrongInput: what is said does not fit the file, or it is no such file.
        """
        super().__init__(path)
        self.ending = ".tsv" if ".tsv" in path.name.lower() else ".csv"
        with as_wrong_input():
            self._rules = find_rules(path, said)
        self.encoding, self.delimiter = self._rules.encoding, self._rules.delimiter

    def columns(self) -> list[str]:
        """As `InputFormat`."""
        return list(self._rules.names)

    def parts(self, sizes: PartSizes) -> Iterator[pa.Table]:
        """As `InputFormat`."""
        with open_text(self.path, self._rules) as file:
            rows = self._read_rows(file)
            header = next(rows) and self.columns() if self._rules.header else self.columns()
            for held in split_rows(rows, sizes, lambda row: sum(map(len, row))):
                columns = dict(zip(header, zip(*held, strict=True), strict=True))
                yield pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})

    def frame(self, part: pa.Table, fields: Sequence[Field]) -> pd.DataFrame:
        """As `InputFormat`."""
        return table_frame(part.to_pydict(), fields, usual="string")

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
