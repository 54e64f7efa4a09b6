"""What a screen prints on a terminal, as HTML for a notebook: its tables as tables, its lines as lines."""

from __future__ import annotations

import html
from collections.abc import Callable
from io import StringIO
from typing import Any, TypeVar

from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

Result = TypeVar("Result")
WIDE = 400  # characters: no column gives way, nothing is cut short


class HtmlConsole(Console):
    """A console that keeps what it is given."""

    def __init__(self) -> None:
        super().__init__(file=StringIO(), width=WIDE, force_terminal=False, force_jupyter=False)
        self.parts: list[str] = []

    def print(self, *objects: Any, **how: Any) -> None:
        """As rich's, on a page."""
        for thing in objects:
            self.parts.extend(_describe_part(thing, self))


def render_html(screen: Callable[[Console, Result], object], result: Result) -> str:
    """A result as its screen shows it.

    Args:
        screen: prints the result.
    """
    console = HtmlConsole()
    screen(console, result)
    return f"<div class='velodrome'>{''.join(console.parts)}</div>"


def renderable_html(thing: Any) -> str:
    """One of rich's renderables."""
    return "".join(_describe_part(thing, HtmlConsole()))


def _describe_part(thing: Any, console: Console) -> list[str]:
    if isinstance(thing, Table):
        return [_table_html(thing)]
    if isinstance(thing, Group):
        return [part for entry in thing.renderables for part in _describe_part(entry, console)]
    if isinstance(thing, Padding):
        return _describe_part(thing.renderable, console)
    text = thing.plain if isinstance(thing, Text) else _plain_text(thing)
    return [f"<pre style='margin:0'>{html.escape(line)}</pre>" for line in text.splitlines() if line.strip()]


def _plain_text(thing: Any) -> str:
    if isinstance(thing, str):
        return thing
    console = Console(file=StringIO(), width=WIDE, force_terminal=False, force_jupyter=False)
    with console.capture() as captured:
        console.print(thing)
    return captured.get()


def _table_html(table: Table) -> str:
    headings = [_cell_text(column.header) for column in table.columns]
    aligned = ["right" if column.justify == "right" else "left" for column in table.columns]
    cells = [list(column.cells) for column in table.columns]
    head = "".join(
        f"<th style='text-align:{side}'>{html.escape(heading)}</th>"
        for heading, side in zip(headings, aligned, strict=True)
    )
    rows = []
    for place, row in enumerate(table.rows):
        weight = ";font-weight:bold" if "bold" in str(row.style or "") else ""
        rows.append(
            "<tr>"
            + "".join(
                f"<td style='text-align:{side}{weight}'>{html.escape(_cell_text(column[place]))}</td>"
                for column, side in zip(cells, aligned, strict=True)
            )
            + "</tr>"
        )
    shown = f"<thead><tr>{head}</tr></thead>" if any(headings) else ""
    return f"<table>{shown}<tbody>{''.join(rows)}</tbody></table>"


def _cell_text(cell: Any) -> str:
    return cell.plain if isinstance(cell, Text) else _plain_text(cell).rstrip("\n")
