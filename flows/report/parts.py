"""What the page's sections are made of."""

from __future__ import annotations

from dataclasses import dataclass

from flows.report.drawing import PlotlyFigure


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderCell:
    """A column's heading. `kind`: `number` is set right, `long` may wrap, else empty."""

    text: str
    kind: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageTable:
    """A table of texts."""

    headings: tuple[HeaderCell, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""
    first_wins: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TextBlock:
    """A text in fixed width, perhaps folded."""

    title: str
    text: str
    folded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A PNG in base64, under its title."""

    title: str
    png: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One card of the page. `short`: its name in the bar on top. `pair`: two figures in a line."""

    id: str
    short: str
    title: str
    about: str = ""
    tables: tuple[PageTable, ...] = ()
    figures: tuple[PlotlyFigure, ...] = ()
    remarks: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    blocks: tuple[TextBlock, ...] = ()
    pictures: tuple[Picture, ...] = ()
    pair: bool = False

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to show."""
        shown = self.tables or self.figures or self.blocks or self.pictures
        return not (shown or self.warnings or self.remarks)
