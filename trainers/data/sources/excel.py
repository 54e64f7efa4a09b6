"""A workbook's first sheet that is shown, every cell as the text that a csv file would hold."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa

from trainers.data.cell_values import spell_value
from trainers.data.disk.other_kinds import ARCHIVE, tell_kind_of
from trainers.data.disk.paths import SOURCE_KEY
from trainers.data.sources.csv_rules import UNNAMED, describe_second_header, looks_like_data
from trainers.data.sources.unseen_cells import find_unseen
from trainers.errors import InputError
from trainers.types import Cell
from trainers.wording import count_of

if TYPE_CHECKING:
    from openpyxl import Workbook

ERRORS = frozenset({"#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"})  # of formulas
SMALL_BYTES = 1 << 20  # a larger workbook is streamed
Row = tuple[Cell, ...]


def read_excel(path: Path, notes: list[str]) -> Iterator[pa.RecordBatch]:
    """The rows below the header; rows and columns without anything are passed over, and so is a title.

    Args:
        notes: what there is to say of it is added.

    Raises:
        InputError: openpyxl is not installed, no workbook, or columns that are not named once each.
    """
    header, *rows = _without_title(path, _read_cells(path, notes), notes)
    spelt = [spell_value(cell) or "" for cell in header]
    below = [[spell_value(cell) or "" for cell in row] for row in rows[:100]]
    notes += describe_second_header(path.name, below)
    if looks_like_data(spelt, below):
        notes.append(f"the first row of {path.name} is no header: columns are called column 1, 2, …")
        header, rows = (None,) * len(header), [header, *rows]
    names = [spell_value(name) or UNNAMED.format(place) for place, name in enumerate(header, start=1)]
    if len(set(names)) != len(names):
        twice = ", ".join(sorted({repr(name) for name in names if names.count(name) > 1})[:5])
        must = f"the first row of {path} must name each column once"
        raise InputError(must, f"{twice} twice", "rename them", key=SOURCE_KEY)
    _check_results(path, names, rows)
    yield pa.RecordBatch.from_pydict({
        name: pa.array([_spell_cell(row[place]) for row in rows], pa.string())
        for place, name in enumerate(names)
    })  # fmt: skip


def _spell_cell(cell: Cell) -> str | None:
    return None if isinstance(cell, str) and cell in ERRORS else spell_value(cell)


def _without_title(path: Path, rows: Sequence[Row], notes: list[str]) -> Sequence[Row]:
    """The rows from the header on: a title is one cell above rows of several."""
    filled = [sum(cell is not None for cell in row) for row in rows[:20]]
    first = next((at for at, count in enumerate(filled) if count > 1), 0)
    if first:
        notes.append(f"{count_of(first, 'row')} of {path.name} before its header left out: a title")
    return rows[first:]


def _check_results(path: Path, names: Sequence[str], rows: Sequence[Row]) -> None:
    """That no named column is empty throughout: what programs write as formulas has no values before a
    spreadsheet has computed them."""
    empty = [name for place, name in enumerate(names) if all(row[place] is None for row in rows)]
    if not (rows and empty):
        return
    with path.open("rb") as file, closing(_open_book(file, values=False)) as book:
        cells = (cell for row in _first_shown(book).iter_rows(values_only=True) for cell in row)
        if any(isinstance(cell, str) and cell.startswith("=") for cell in cells):
            must = f"formulas of {path} must have been computed"
            do = "open the workbook in a spreadsheet and save it, or save values"
            raise InputError(must, f"no value in column {empty[0]!r}", do, key=SOURCE_KEY)


def _open_book(file: IO[bytes], *, values: bool) -> Workbook:
    path = Path(file.name)
    _refuse_other_files(path)
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        do = "pip install 'velodrome[excel]', or save it as csv"
        raise InputError("workbooks need openpyxl", str(error), do, key=SOURCE_KEY) from error
    streamed = path.stat().st_size > SMALL_BYTES
    return load_workbook(file, read_only=streamed, data_only=values)


def _refuse_other_files(path: Path) -> None:
    """Refuses what is no archive, as a workbook is: often it is another file with a workbook's name."""
    if zipfile.is_zipfile(path):
        return
    found = tell_kind_of(path)
    if found is None or found[0] == ARCHIVE:  # it begins as one
        found = "none", "fetch it again if it is cut; of text that is named so write csv:FILE"
    raise InputError(f"{path} must be a readable workbook", *found, key=SOURCE_KEY)


def _first_shown(book: Workbook) -> Any:
    shown = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
    sheet = (shown or book.worksheets)[0]
    if hasattr(sheet, "reset_dimensions"):  # a streamed sheet ends where its file says, which may be wrong
        sheet.reset_dimensions()
    return sheet


def _filled_rows(sheet: Any) -> tuple[list[Row], int]:
    """The rows in which anything stands, all of one width, and the last one's number."""
    rows: list[Row] = []
    last = 0
    for number, row in enumerate(sheet.iter_rows(values_only=True), start=1):
        if any(cell is not None for cell in row):
            rows.append(row)
            last = number
    width = max(map(len, rows), default=0)
    return [row + (None,) * (width - len(row)) for row in rows], last


def _read_cells(path: Path, notes: list[str]) -> list[Row]:
    try:
        with path.open("rb") as file, closing(_open_book(file, values=True)) as book:
            sheet = _first_shown(book)
            rows, last = _filled_rows(sheet)
            unseen = find_unseen(sheet, last, len(rows[0]) if rows else 0)
            others = [other.title for other in book.worksheets if other is not sheet]
    except InputError:
        raise
    except Exception as error:  # what a damaged archive of XML makes its parsers raise is anything
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        do = "save it as .xlsx or .csv; older kinds and other programs' are not read"
        raise InputError(f"{path} must be a readable workbook", text, do, key=SOURCE_KEY) from error
    if others:
        notes.append(f"the first sheet of {path.name} is read, not {', '.join(others[:5])}")
    notes += unseen.describe(path.name)
    if not rows:
        do = f"move {others[0]!r} before it" if others else "save a sheet with a row of names and rows below"
        raise InputError("data must have rows", f"none in the first sheet of {path}", do, key=SOURCE_KEY)
    used = [any(row[place] is not None for row in rows) for place in range(len(rows[0]))]
    return [tuple(cell for cell, kept in zip(row, used, strict=True) if kept) for row in rows]
