"""CSV: rows of fields, each as it was written."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

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
from infra.serving.model_schema import Field

if TYPE_CHECKING:
    import pandas as pd


class CsvFile:
    """A file of comma-, semicolon- or tab-separated fields, in UTF-8, whose first line names them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ending = path.suffix
        self._delimiter = "\t" if path.suffix.lower() == ".tsv" else _detect_delimiter(path)

    def columns(self) -> list[str]:
        """As `InputFormat`."""
        with self._open_text() as file:
            header = next(self._read_rows(file), [])
        if not header or len(set(header)) != len(header) or not all(header):
            found = ", ".join(ascii(name) for name in header[:20]) or "an empty file"
            raise WrongInput(f"the first line of {self.path} must name each column once", found)
        return header

    def parts(self, sizes: PartSizes) -> Iterator[pa.Table]:
        """As `InputFormat`."""
        with self._open_text() as file:
            rows = self._read_rows(file)
            header = next(rows)
            for held in split_rows(rows, sizes, lambda row: sum(map(len, row))):
                columns = dict(zip(header, zip(*held, strict=True), strict=True))
                yield pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()})

    def frame(self, part: pa.Table, fields: Sequence[Field]) -> pd.DataFrame:
        """As `InputFormat`."""
        return table_frame(part.to_pydict(), fields, usual="string")

    def write(self, part: pa.Table, predictions: pd.DataFrame, path: Path, *, first: bool) -> None:
        """As `InputFormat`."""
        write_csv(part, predictions, path, self._delimiter, header=first)

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """As `InputFormat`."""
        concatenate_files(parts, path)

    def _open_text(self) -> io.TextIOWrapper:
        return self.path.open(encoding="utf-8-sig", newline="")

    def _read_rows(self, file: io.TextIOWrapper) -> Iterator[list[str]]:
        csv.field_size_limit(MOST_CHARACTERS)
        reader = csv.reader(file, delimiter=self._delimiter, strict=True)
        width = None
        try:
            for row in reader:
                width = width or len(row)
                if row and len(row) != width:
                    found = f"{len(row)} in line {reader.line_num}"
                    raise WrongInput(f"every line of {self.path} must have {width} fields", found)
                if row:
                    yield row
        except UnicodeDecodeError as error:
            found = f"byte 0x{error.object[error.start]:02x} after line {reader.line_num}"
            raise WrongInput(f"{self.path} must be CSV in UTF-8", found, "save it as UTF-8") from error
        except csv.Error as error:
            found = f"line {reader.line_num}: {error}"
            raise WrongInput(f"{self.path} must be CSV in UTF-8", found) from error


def write_csv(part: pa.Table, predictions: pd.DataFrame, path: Path, delimiter: str, *, header: bool) -> None:
    """The part's fields and the predictions, a line a row."""
    columns = [part.column(name).to_pylist() for name in part.column_names]
    columns += [json_values(predictions[name]) for name in predictions.columns]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        if header:
            writer.writerow([*part.column_names, *predictions.columns])
        writer.writerows(zip(*columns, strict=True))


def _detect_delimiter(path: Path) -> str:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        line = file.readline(2**20)
    counts = {mark: line.count(mark) for mark in (",", ";", "\t")}
    most = max(counts, key=lambda mark: counts[mark])
    return most if counts[most] else ","
