"""A workbook's first sheet, every cell as the text that a csv file would hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pyarrow as pa

from trainers.data.cell_values import spell_value
from trainers.data.sources.csv_rules import UNNAMED
from trainers.data.sources.paths import SOURCE_KEY
from trainers.errors import InputError
from trainers.types import Cell


def read_excel(path: Path) -> Iterator[pa.RecordBatch]:
    """The rows below the first, which names the columns; rows and columns without anything are passed over.

    Raises:
        InputError: openpyxl is not installed, no workbook, or columns that are not named once each.
    """
    header, *rows = _read_cells(path)
    names = [spell_value(name) or UNNAMED.format(place) for place, name in enumerate(header, start=1)]
    if len(set(names)) != len(names):
        twice = ", ".join(sorted({repr(name) for name in names if names.count(name) > 1})[:5])
        must = f"the first row of {path} must name each column once"
        raise InputError(must, f"{twice} twice", "rename them", key=SOURCE_KEY)
    columns = {
        name: pa.array([spell_value(row[place]) for row in rows], pa.string())
        for place, name in enumerate(names)
    }
    yield pa.RecordBatch.from_pydict(columns)


def _read_cells(path: Path) -> list[tuple[Cell, ...]]:
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        do = "pip install 'velodrome[excel]', or save it as csv"
        raise InputError("workbooks need openpyxl", str(error), do, key=SOURCE_KEY) from error
    try:
        with path.open("rb") as file, closing(load_workbook(file, read_only=True, data_only=True)) as book:
            sheet = book.worksheets[0].iter_rows(values_only=True)
            rows = [row for row in sheet if any(cell is not None for cell in row)]
    except Exception as error:  # what a damaged archive of XML makes its parsers raise is anything
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} must be a readable workbook", text, key=SOURCE_KEY) from error
    if not rows:
        raise InputError("data must have rows", f"none in the first sheet of {path}", key=SOURCE_KEY)
    used = [any(row[place] is not None for row in rows) for place in range(len(rows[0]))]
    return [tuple(cell for cell, kept in zip(row, used, strict=True) if kept) for row in rows]
