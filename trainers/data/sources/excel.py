"""A workbook's first sheet that is shown, every cell as the text that a csv file would hold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import pyarrow as pa

from trainers.data.cell_values import spell_value
from trainers.data.sources.csv_rules import UNNAMED, describe_second_header, looks_like_data
from trainers.data.sources.paths import SOURCE_KEY
from trainers.errors import InputError
from trainers.types import Cell
from trainers.wording import count_of

if TYPE_CHECKING:
    from openpyxl import Workbook

ERRORS = frozenset({"#DIV/0!", "#N/A", "#NAME?", "#NULL!", "#NUM!", "#REF!", "#VALUE!"})  # of formulas
SMALL_BYTES = 1 << 20  # a larger workbook is streamed, without its merged cells
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
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        do = "pip install 'velodrome[excel]', or save it as csv"
        raise InputError("workbooks need openpyxl", str(error), do, key=SOURCE_KEY) from error
    streamed = Path(file.name).stat().st_size > SMALL_BYTES
    return load_workbook(file, read_only=streamed, data_only=values)


def _first_shown(book: Workbook) -> Any:
    shown = [sheet for sheet in book.worksheets if sheet.sheet_state == "visible"]
    return (shown or book.worksheets)[0]


def _count_hidden(sheet: Any) -> str:
    """Rows and columns that the sheet does not show; of one that is streamed nothing is known."""
    rows = sum(bool(row.hidden) for row in getattr(sheet, "row_dimensions", {}).values())
    spans = [column for column in getattr(sheet, "column_dimensions", {}).values() if column.hidden]
    columns = sum(span.max - span.min + 1 if span.max else 1 for span in spans)  # neighbours share one entry
    counts = ((rows, "row"), (columns, "column"))
    return " and ".join(count_of(count, what) for count, what in counts if count)


def _read_cells(path: Path, notes: list[str]) -> list[Row]:
    try:
        with path.open("rb") as file, closing(_open_book(file, values=True)) as book:
            sheet = _first_shown(book)
            rows = [row for row in sheet.iter_rows(values_only=True) if any(cell is not None for cell in row)]
            merged = [str(cells) for cells in getattr(sheet, "merged_cells", ())]
            hidden = _count_hidden(sheet)
            others = [other.title for other in book.worksheets if other is not sheet]
    except InputError:
        raise
    except Exception as error:  # what a damaged archive of XML makes its parsers raise is anything
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        do = "save it as .xlsx or .csv; older kinds and other programs' are not read"
        raise InputError(f"{path} must be a readable workbook", text, do, key=SOURCE_KEY) from error
    if others:
        notes.append(f"the first sheet of {path.name} is read, not {', '.join(others[:5])}")
    if hidden:
        notes.append(
            f"{path.name} hides {hidden} (by a filter, say), which are read too: delete them there, or save "
            "what is shown as csv, if they are not meant"
        )
    if merged:
        notes.append(
            f"{path.name} has {len(merged):,} merged cells, as {merged[0]}: the value counts for the first "
            "of them, the others are empty; split them, and write it into each, if it is meant for all"
        )
    if not rows:
        do = f"move {others[0]!r} before it" if others else "save a sheet with a row of names and rows below"
        raise InputError("data must have rows", f"none in the first sheet of {path}", do, key=SOURCE_KEY)
    used = [any(row[place] is not None for row in rows) for place in range(len(rows[0]))]
    return [tuple(cell for cell, kept in zip(row, used, strict=True) if kept) for row in rows]
