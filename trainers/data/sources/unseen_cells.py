"""What of a workbook's sheet nobody sees who looks at it: hidden rows and columns, and merged cells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from trainers.wording import count_of

PIECE_BYTES = 1 << 20
_TAG = re.compile(rb"<(?:\w+:)?(row|col|mergeCell)\b([^<>]*)>")
_ATTRIBUTE = re.compile(rb"""\b(\w+)\s*=\s*["']([^"']*)["']""")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnseenCells:
    """`hidden`: in words, how many rows and columns; `merged`: how many groups of cells, `first` of them."""

    hidden: str
    merged: int
    first: str

    def describe(self, name: str) -> list[str]:
        """What there is to say of a workbook of that name."""
        notes = []
        if self.hidden:
            do = "delete them there, or save what is shown as csv, if they are not meant"
            notes.append(f"{name} hides {self.hidden} (by a filter, say), which are read too: {do}")
        if self.merged:
            said = "the value counts for the first of them, the others are empty"
            do = "split them, and write it into each, if it is meant for all"
            notes.append(f"{name} has {self.merged:,} merged cells, as {self.first}: {said}; {do}")
        return notes


def find_unseen(sheet: Any, rows: int, columns: int) -> UnseenCells:
    """Those of an open sheet of openpyxl, streamed or not.

    Args:
        rows, columns: how many are used: people hide all that are not, which nobody misses.
    """
    tags = _streamed_tags(sheet) if hasattr(sheet, "_worksheet_path") else _loaded_tags(sheet)
    hidden_rows, hidden_columns = set[int](), set[int]()
    merged: list[str] = []
    for kind, first, last, where in tags:
        if kind == "mergeCell":
            merged.append(where)
        elif kind == "row":
            hidden_rows.add(first)
        else:
            hidden_columns.update(range(first, min(last, columns) + 1))
    used = sum(1 for row in hidden_rows if row <= rows)
    counts = ((used, "row"), (len(hidden_columns), "column"))
    said = " and ".join(count_of(count, what) for count, what in counts if count)
    return UnseenCells(hidden=said, merged=len(merged), first=merged[0] if merged else "")


_Tag = tuple[str, int, int, str]


def _loaded_tags(sheet: Any) -> Iterator[_Tag]:
    yield from (("row", at, at, "") for at, row in sheet.row_dimensions.items() if row.hidden)
    for span in sheet.column_dimensions.values():  # neighbours share one entry
        if span.hidden:
            span.reindex()
            yield "col", span.min, span.max, ""
    yield from (("mergeCell", 0, 0, str(cells)) for cells in sheet.merged_cells)


def _streamed_tags(sheet: Any) -> Iterator[_Tag]:
    """From the sheet's own file, of which openpyxl gives cells alone where it streams them."""
    at = 0
    with sheet._get_source() as source:
        for kind, attributes in _find_tags(source):
            if kind == "mergeCell":
                yield kind, 0, 0, attributes.get("ref", "")
                continue
            at = int(attributes.get("r", at + 1)) if kind == "row" else at  # rows may leave their number out
            if attributes.get("hidden") not in ("1", "true"):
                continue
            if kind == "row":
                yield kind, at, at, ""
            else:
                yield kind, int(attributes.get("min", 1)), int(attributes.get("max", 1)), ""


def _find_tags(source: IO[bytes]) -> Iterator[tuple[str, dict[str, str]]]:
    held = b""
    while piece := source.read(PIECE_BYTES):
        text = held + piece
        end = max(text.rfind(b"<"), 0)  # a tag may go on in the next piece
        yield from map(_read_tag, _TAG.finditer(text, 0, end))
        held = text[end:]
    yield from map(_read_tag, _TAG.finditer(held))


def _read_tag(found: re.Match[bytes]) -> tuple[str, dict[str, str]]:
    return found[1].decode(), {n.decode(): value.decode() for n, value in _ATTRIBUTE.findall(found[2])}
