"""What every kind of input has in common.

A part is an Arrow table of what stood in the input, untouched: fields of CSV and lines of JSON stay text, so
that what comes out is what went in, and more. Where parts begin depends on the content alone, so that another
reading finds the same parts.
"""

from __future__ import annotations

import csv
import json
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pyarrow as pa

from infra.errors import WrongInput
from infra.serving.model_schema import Field
from trainers.data.cell_values import read_number, spell_value
from trainers.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from trainers.types import Cell

MOST_CHARACTERS = 2**24  # of a field or a line
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartSizes:
    """How large a part may get: whichever is reached first ends it."""

    rows: int = 4096
    characters: int = 8 * 2**20


class BadValue(Exception):
    """A value that a model cannot take; `row` counts from the part's first."""

    def __init__(self, column: str, row: int, value: Cell) -> None:
        self.column, self.row, self.value = column, row, value
        super().__init__(column, row, value)


class InputFormat(ABC):
    """One kind of input; the output is CSV where a kind does not say otherwise."""

    ending = ".csv"
    delimiter = ","

    def __init__(self, path: Path) -> None:
        """Reads nothing yet."""
        self.path = path

    @abstractmethod
    def columns(self) -> list[str]:
        """The columns that are there, for a check before anything is computed."""

    @abstractmethod
    def parts(self, sizes: PartSizes) -> Iterator[pa.Table]:
        """The input, from its beginning.

        Raises:
            WrongInput: it cannot be read; says where.
        """

    @abstractmethod
    def frame(self, part: pa.Table, fields: Sequence[Field]) -> pd.DataFrame:
        """A part's rows as a model takes them.

        Raises:
            BadValue: one is not of its column's type.
        """

    def write(self, part: pa.Table, predictions: pd.DataFrame, path: Path, *, first: bool) -> None:
        """The part and its predictions, as the output has them; the first has what a file begins with."""
        columns = [part.column(name).to_pylist() for name in part.column_names]
        columns += [_field_values(predictions[name]) for name in predictions.columns]
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter=self.delimiter, lineterminator="\n")
            if first:
                writer.writerow([*part.column_names, *predictions.columns])
            writer.writerows(zip(*columns, strict=True))

    def join(self, parts: Sequence[Path], path: Path) -> None:
        """One file of all parts."""
        with path.open("wb") as out:
            for part in parts:
                with part.open("rb") as file:
                    shutil.copyfileobj(file, out)


def split_rows(
    rows: Iterator[Row], sizes: PartSizes, characters: Callable[[Row], int]
) -> Iterator[list[Row]]:
    """Rows by the part."""
    held: list[Row] = []
    size = 0
    for row in rows:
        held.append(row)
        size += characters(row)
        if len(held) == sizes.rows or size >= sizes.characters:
            yield held
            held, size = [], 0
    if held:
        yield held


def table_frame(columns: dict[str, list[Cell]], fields: Sequence[Field], *, usual: str) -> pd.DataFrame:
    """The columns that a model takes, with their types; all columns where it does not say."""
    import pandas as pd

    kinds = {field.name: field.type for field in fields} or dict.fromkeys(columns, usual)
    return pd.DataFrame({name: _typed_series(name, columns[name], kind) for name, kind in kinds.items()})


def single_column_frame(values: list[Cell], fields: Sequence[Field], path: Path) -> pd.DataFrame:
    """The values as a model's only column."""
    import pandas as pd

    if len(fields) > 1:
        names = ", ".join(field.name for field in fields[:5])
        must = "text and folders of files are for models of one column"
        raise WrongInput(must, f"{path}, and a model of {names}", "give it CSV, JSONL or Parquet")
    name = fields[0].name if fields else "input"
    return pd.DataFrame({name: pd.Series(values, dtype=object)})


def _typed_series(name: str, values: list[Cell], kind: str) -> pd.Series:
    import pandas as pd

    if kind == "string":
        values = [spell_value(value) for value in values]
    if kind not in ("double", "long"):
        return pd.Series(values, dtype=object)
    return pd.Series([_parse_number(name, row, value) for row, value in enumerate(values)], dtype="float64")


def _parse_number(name: str, row: int, value: Cell) -> float:
    try:
        return read_number(value)
    except (ValueError, OverflowError):
        raise BadValue(name, row, value) from None


def json_values(column: pd.Series) -> list[Cell]:
    """A prediction's values; what is not a number is None."""
    return [None if isinstance(value, float) and value != value else value for value in column.tolist()]


def _field_values(column: pd.Series) -> list[Cell]:
    """A prediction's values; lists as JSON, which others can read."""
    return [json.dumps(value) if isinstance(value, list) else value for value in json_values(column)]


@contextmanager
def as_wrong_input() -> Iterator[None]:
    """What training's readers refuse, as wrong input."""
    try:
        yield
    except InputError as error:
        raise WrongInput(error.must, error.found, error.do) from error
