"""One explained row after another: into the table, the pictures, the means and the page's examples."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TextIO

import numpy as np

from flows.explanation.pictures import attention_map, beside_each_other, encode_png, heat_map

if TYPE_CHECKING:
    import pandas as pd

    from trainers.explaining.explainer import Explained, Explainer
    from trainers.types import Array, Cell

SHOWN_ROWS = 40  # on the page
HEADINGS = ("row", "answer", "score", "baseline_score")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeaturePart:
    """What one column or word of a row gave: its text, its importance, and its share of the row's largest."""

    text: str
    importance: float
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRow:
    """A row as the page shows it; `picture` is a PNG, of images alone."""

    number: int
    answer: str
    score: float
    baseline_score: float
    parts: list[FeaturePart]
    picture: bytes | None = None


@dataclass(slots=True, kw_only=True)
class FeatureMean:
    """How much a column or word counts over all rows."""

    absolute: float = 0.0
    signed: float = 0.0
    count: int = 0

    def add(self, importance: float) -> None:
        """One more row."""
        self.absolute += abs(importance)
        self.signed += importance
        self.count += 1


class RowWriter(Protocol):
    """What is kept of one kind of rows.

    Attributes:
        means: by column or word.
    """

    means: dict[str, FeatureMean]

    @property
    def headings(self) -> tuple[str, ...]:
        """Of the table."""

    def rows(self, rows: pd.DataFrame, found: Explained, first: int) -> Iterator[ShownRow]:
        """Writes some rows into the table and shows each; `first` is the first one's number."""

    def finish(self, folder: Path) -> None:
        """Writes what is known at the end."""


@dataclass(slots=True, kw_only=True)
class TableRows:
    """A line a row, a field a column."""

    table: TextIO
    columns: list[str]
    means: dict[str, FeatureMean] = field(default_factory=lambda: defaultdict(FeatureMean))

    @property
    def headings(self) -> tuple[str, ...]:
        """Of the table."""
        return (*HEADINGS, *self.columns)

    def rows(self, rows: pd.DataFrame, found: Explained, first: int) -> Iterator[ShownRow]:
        """As `RowWriter`."""
        writer = csv.writer(self.table, lineterminator="\n")
        for at, importances in enumerate(np.asarray(found.importances)):
            values = rows.iloc[at]
            writer.writerow([*_head(found, at, first), *(float(part) for part in importances)])
            for name, part in zip(self.columns, importances, strict=True):
                self.means[name].add(float(part))
            texts = [f"{name} = {_short(values[name])}" for name in self.columns]
            yield _shown_row(found, at, first, _parts(texts, importances, most=8))

    def finish(self, folder: Path) -> None:
        """Writes the means."""
        _write_means(folder / "importance.csv", "column", self.means)


@dataclass(slots=True, kw_only=True)
class TextRows:
    """A line a word; of models that attend, a picture a text."""

    table: TextIO
    folder: Path
    means: dict[str, FeatureMean] = field(default_factory=lambda: defaultdict(FeatureMean))

    @property
    def headings(self) -> tuple[str, ...]:
        """Of the table."""
        return (*HEADINGS, "position", "word", "importance")

    def rows(self, rows: pd.DataFrame, found: Explained, first: int) -> Iterator[ShownRow]:
        """As `RowWriter`."""
        writer = csv.writer(self.table, lineterminator="\n")
        assert found.words is not None
        assert found.texts is not None
        read = zip(found.texts, found.words, found.importances, strict=True)
        for at, (text, words, importances) in enumerate(read):
            texts = [text[word.start : word.end] for word in words]
            for place, (word, part) in enumerate(zip(texts, importances, strict=True), start=1):
                writer.writerow([*_head(found, at, first), place, word, float(part)])
                self.means[word.lower()].add(float(part))
            picture = None if found.attention is None else self._draw(found.attention[at], first + at)
            yield _shown_row(found, at, first, _parts(texts, importances), picture)

    def _draw(self, attention: Array | None, number: int) -> bytes | None:
        """Writes the map of each layer, the first on the left: a row a word that asks."""
        if attention is None:
            return None
        (self.folder / "attention").mkdir(exist_ok=True)
        picture = encode_png(attention_map(attention))
        (self.folder / "attention" / f"{number:05d}.png").write_bytes(picture)
        return picture

    def finish(self, folder: Path) -> None:
        """Writes the means."""
        _write_means(folder / "importance.csv", "word", self.means)


@dataclass(slots=True, kw_only=True)
class ImageRows:
    """A line and a picture an image."""

    table: TextIO
    folder: Path
    explainer: Explainer
    means: dict[str, FeatureMean] = field(default_factory=dict)
    total: Array | None = None

    @property
    def headings(self) -> tuple[str, ...]:
        """Of the table."""
        return (*HEADINGS, "picture")

    def rows(self, rows: pd.DataFrame, found: Explained, first: int) -> Iterator[ShownRow]:
        """As `RowWriter`."""
        writer = csv.writer(self.table, lineterminator="\n")
        maps, pixels = np.asarray(found.importances), self.explainer.read_images(rows)
        size = np.abs(maps).sum(axis=0)
        self.total = size if self.total is None else self.total + size
        for at, importances in enumerate(maps):
            seen = [self.explainer.as_looked_at(part) for part in (pixels[at], importances)]
            name, picture = f"{first + at:05d}.png", beside_each_other(*seen)
            (self.folder / "pictures" / name).write_bytes(picture)
            writer.writerow([*_head(found, at, first), f"pictures/{name}"])
            yield _shown_row(found, at, first, [], picture)

    def finish(self, folder: Path) -> None:
        """Writes the mean map."""
        if self.total is not None:
            total = self.explainer.as_looked_at(self.total)
            (folder / "importance.png").write_bytes(encode_png(heat_map(total)))


def row_writer(explainer: Explainer, folder: Path, table: TextIO) -> RowWriter:
    """Of the rows that an explainer explains."""
    if explainer.kind == "image":
        (folder / "pictures").mkdir()
        return ImageRows(table=table, folder=folder, explainer=explainer)
    if explainer.kind == "text":
        return TextRows(table=table, folder=folder)
    return TableRows(table=table, columns=explainer.columns)


def ranked_means(means: dict[str, FeatureMean]) -> list[tuple[str, FeatureMean]]:
    """The features that count most first; words by all their places together."""
    return sorted(means.items(), key=lambda pair: (-pair[1].absolute, pair[0]))


def _write_means(path: Path, what: str, means: dict[str, FeatureMean]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([what, "count", "mean_absolute", "mean"])
        for name, mean in ranked_means(means):
            writer.writerow([name, mean.count, mean.absolute / mean.count, mean.signed / mean.count])


def _head(found: Explained, at: int, first: int) -> list[Cell]:
    return [first + at, found.answers[at], float(found.scores[at]), float(found.baseline_scores[at])]


def _shown_row(
    found: Explained, at: int, first: int, parts: list[FeaturePart], picture: bytes | None = None
) -> ShownRow:
    return ShownRow(
        number=first + at, answer=found.answers[at], score=float(found.scores[at]),
        baseline_score=float(found.baseline_scores[at]), parts=parts, picture=picture,
    )  # fmt: skip


def _parts(texts: list[str], importances: Array, most: int | None = None) -> list[FeaturePart]:
    """In the order of a text, or the largest first."""
    largest = max((abs(float(part)) for part in importances), default=0.0) or 1.0
    order = range(len(texts)) if most is None else np.argsort(-np.abs(importances))[:most]
    return [
        FeaturePart(text=texts[i], importance=float(importances[i]), share=float(importances[i]) / largest)
        for i in order
    ]


def _short(value: Cell) -> str:
    text = "missing" if value is None or value != value else str(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
