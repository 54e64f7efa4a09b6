"""Tables that fit: columns of least importance give way first, and nothing is folded to a letter a line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Literal

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from flows.terminal.formatting import printable_text

GAP = 3
SHRUNK = 24
ALWAYS = 0


@dataclass(frozen=True, slots=True)
class TableColumn:
    """One column.

    Attributes:
        cells: one a row; `Text` where it has a style.
        gives_way: the larger, the sooner it is left out of a narrow table; 0: never.
        shrinks: its cells may be cut short with an ellipsis when nothing else can give way.
        wraps: they go on in the next line instead.
    """

    heading: str
    cells: Sequence[str | Text]
    _: KW_ONLY
    right: bool = False
    gives_way: int = ALWAYS
    shrinks: bool = False
    wraps: bool = False

    @property
    def width(self) -> int:
        """Characters of its widest cell."""
        return max([cell_len(self.heading), *(cell_len(str(cell)) for cell in self.cells)])


def fit_table(
    columns: Sequence[TableColumn], width: int, *, bold_rows: frozenset[int] = frozenset()
) -> Table:
    """The table of the columns that fit the width."""
    kept = fit_columns(columns, width)
    widths = _widths(kept, width)
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=True)
    for column, characters in zip(kept, widths, strict=True):
        justify: Literal["left", "right"] = "right" if column.right else "left"
        table.add_column(
            Text(column.heading), justify=justify, no_wrap=not column.wraps,
            overflow="fold" if column.wraps else "ellipsis", width=characters,
        )  # fmt: skip
    for place in range(len(columns[0].cells)):
        cells = [_text(column.cells[place]) for column in kept]
        table.add_row(*cells, style="bold" if place in bold_rows else None)
    return table


def fit_columns(columns: Sequence[TableColumn], width: int) -> list[TableColumn]:
    """The columns that are left when those that give way have done so, the last of equals first."""
    kept = list(columns)
    while _width(kept) > width:
        candidates = [place for place, column in enumerate(kept) if column.gives_way != ALWAYS]
        if not candidates:
            break
        del kept[max(candidates, key=lambda place: (kept[place].gives_way, place))]
    return kept


def _least_width(column: TableColumn) -> int:
    return min(column.width, SHRUNK) if column.shrinks or column.wraps else column.width


def _width(columns: Sequence[TableColumn]) -> int:
    return sum(_least_width(column) + GAP for column in columns) - 1


def _widths(columns: Sequence[TableColumn], width: int) -> list[int]:
    """Characters of each column; what is spare goes to those that shrink, the first of them first."""
    spare = max(0, width - _width(columns))
    widths = []
    for column in columns:
        more = min(spare, column.width - _least_width(column))
        spare -= more
        widths.append(_least_width(column) + more)
    return widths


def _text(cell: str | Text) -> Text:
    return cell if isinstance(cell, Text) else Text(printable_text(cell))


def grid() -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    return grid
