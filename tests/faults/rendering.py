"""Results as a table: for a terminal, and for a page between two markers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tests.faults.catalogue import Result

BEGIN, END = "<!-- begin: the catalogue -->", "<!-- end: the catalogue -->"
HEADER = (
    "id", "fault", "lost", "duplicated", "orphaned", "silent", "wasted", "detect s", "restore s", "seconds",
    "note",
)  # fmt: skip


def row(result: Result) -> tuple[str, ...]:
    """One result's cells."""
    outcome = result.outcome
    counted = (outcome.lost, outcome.duplicated, outcome.orphaned, outcome.silent)
    return (
        result.id,
        result.title,
        *("?" if result.broken else str(count) for count in counted),
        _figure(outcome.wasted, 2),
        _figure(outcome.detect_s, 1),
        _figure(outcome.restore_s, 1),
        f"{result.seconds:.0f}",
        f"**failed**: {result.broken}" if result.broken else outcome.note,
    )


def _figure(value: float | None, places: int) -> str:
    return "" if value is None else f"{value:.{places}f}"


def as_text(results: Sequence[Result]) -> str:
    """Columns that line up."""
    rows = [HEADER, *(row(result) for result in results)]
    widths = [max(len(line[place]) for line in rows) for place in range(len(HEADER) - 1)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)) + "  " + line[-1]
        for line in rows
    )


def into_page(page: Path, results: Sequence[Result]) -> None:
    """Puts results into a page's table; rows of other cases stay as they are.

    Raises:
        ValueError: the page has no place for it.
    """
    text = page.read_text()
    if BEGIN not in text or END not in text:
        raise ValueError(f"{page} must hold the lines {BEGIN} and {END}")
    before, _, rest = text.partition(BEGIN)
    table, _, after = rest.partition(END)
    lines = {match[1]: match[0] for match in re.finditer(r"^\| (F\d\d) \|.*$", table, re.MULTILINE)}
    lines |= {result.id: _line(row(result)) for result in results}
    made = [_line(HEADER), "|" + " --- |" * len(HEADER), *(lines[key] for key in sorted(lines))]
    page.write_text(f"{before}{BEGIN}\n" + "\n".join(made) + f"\n{END}{after}")


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
