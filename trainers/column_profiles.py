"""What each column of a data set holds, in a line, and what about it is worth a thought."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainers.data.cell_values import find_alike
from trainers.data.dataset import Column, Dataset
from trainers.data.number_spellings import find_spelling
from trainers.data.prepare import fit_table
from trainers.errors import InputError
from trainers.types import Cell

MANY_ROWS = 30  # fewer say nothing of a column
SAMPLE = 2000
MANY_TIMES = 3
MANY_VALUES = 10
_MARKS = (
    1.0,
    *(10.0**digits - 1 for digits in range(1, 8)),
)  # -1, -9, 999, …, that mean "missing"
EXAMPLE_CHARACTERS = 30
_DATE = re.compile(r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}( .*)?|\d{1,2}:\d{2}(:\d{2})?")
_ORDERS = ("%Y/%m/%d", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y", "%Y.%m.%d", "%H:%M", "%H:%M:%S")


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnProfile:
    """One column over all rows.

    Attributes:
        different: values; None where that was not counted.
        example: of its first value in training.
        left_out: why no model sees it; empty where one does.
        warning: what may be wrong with it, and what to write; empty where nothing is.
    """

    name: str
    kind: str
    different: int | None
    missing: int
    example: str
    left_out: str = ""
    warning: str = ""

    def describe(self) -> str:
        """In one line, for people."""
        parts = [self.kind]
        parts += [f"{self.different:,} different"] if self.different is not None else []
        parts += [f"{self.missing:,} missing"] if self.missing else []
        parts += [f"as {self.example}"] if self.example else []
        parts += [f"left out: {self.left_out}"] if self.left_out else []
        parts += [f"beware: {self.warning}"] if self.warning else []
        return f"column {self.name}: {', '.join(parts)}"


def profile_columns(dataset: Dataset) -> tuple[ColumnProfile, ...]:
    """The features' profiles, in order."""
    left_out = _left_out(dataset)
    return tuple(
        _profile(column, dataset, left_out.get(name, "")) for name, column in dataset.columns.items()
    )


def _left_out(dataset: Dataset) -> Mapping[str, str]:
    if dataset.kind != "table":
        return {}
    try:
        return fit_table(dataset)["left_out"]
    except InputError:  # families say what is wrong
        return {}


def _profile(column: Column, dataset: Dataset, left_out: str) -> ColumnProfile:
    if column.kind in ("number", "time"):
        return _profile_numbers(column, dataset, left_out)
    if column.kind in ("image", "audio"):
        return ColumnProfile(name=column.name, kind=column.kind, different=None, missing=0, example="")
    counts = Counter(column.values)
    missing = counts.pop(None, 0)
    first = next((value for value in column.values if value is not None), "")
    warning = _warn_of_words(column.name, counts, dataset.rows - missing) if column.kind == "category" else ""
    return ColumnProfile(
        name=column.name, kind=column.kind, different=len(counts), missing=missing,
        example=_shorten(repr(first)), left_out=left_out, warning="" if left_out else warning,
    )  # fmt: skip


def _profile_numbers(column: Column, dataset: Dataset, left_out: str) -> ColumnProfile:
    values = np.asarray(column.values)
    present = values[~np.isnan(values)]
    different = len(np.unique(present))
    example = "" if not len(present) else f"{present[0]:.6g}"
    if column.kind == "time" and len(present):
        example = str(np.datetime64(int(present[0]), "s"))
    warning = _warn_of_numbers(column.name, present, different) if column.kind == "number" else ""
    return ColumnProfile(
        name=column.name, kind=column.kind, different=different, missing=len(values) - len(present),
        example=example, left_out=left_out, warning="" if left_out else warning,
    )  # fmt: skip


def _warn_of_numbers(name: str, present: npt.NDArray[np.float64], different: int) -> str:
    """Whole numbers without a gap, each once, count the rows; a far one again and again is a mark."""
    rows = len(present)
    if rows < MANY_ROWS:
        return ""
    if different == rows and np.ptp(present) == rows - 1:
        return f"it counts the rows; an identifier? columns: {{drop: [{name}]}}"
    for mark in (present.min(), present.max()) if different >= MANY_VALUES else ():
        count, others = int((present == mark).sum()), present[present != mark]
        apart = mark < 0 <= others.min() or np.abs(others - mark).min() > np.ptp(others)
        if abs(mark) in _MARKS and count >= MANY_TIMES and apart:
            return f"{mark:g} stands in {count:,} rows, far from all others: is something missing there?"
    return ""


def _warn_of_words(name: str, counts: Mapping[Cell, int], rows: int) -> str:
    if rows < MANY_ROWS:
        return ""
    sample = {str(word): counts[word] for word in list(counts)[:SAMPLE]}
    if orders := _orders_of_dates(list(sample)):
        either = f' (or "{orders[1]}": they fit both)' if len(orders) > 1 else ""
        return f'dates; columns: {{types: {{{name}: {{type: time, format: "{orders[0]}"}}}}}}{either}'
    numbers = find_spelling(sample)[1] / sum(sample.values())
    if numbers > 0.5 and len(counts) > 10:
        return (
            f"{numbers:.0%} of its values are numbers; columns: {{types: {{{name}: number}}}} if it is meant"
        )
    if alike := find_alike(sample):
        more = f", and {len(alike) - 1} more" if len(alike) > 1 else ""
        return f"{alike[0]} differ by blanks or case alone: each is learned{more}"
    if len(counts) > rows / 2:
        what = "as many categories as rows" if len(counts) == rows else "nearly as many categories as rows"
        return f"{what}; an identifier? columns: {{drop: [{name}]}}"
    return ""


def _orders_of_dates(words: Sequence[str]) -> list[str]:
    """The formats in which all of them are days, or times of a day."""
    import pandas as pd

    if not all(_DATE.fullmatch(word.strip()) for word in words[:100]):
        return []
    texts = pd.Series(words, dtype=object)
    read = {order: pd.to_datetime(texts, format=order, errors="coerce") for order in _ORDERS}
    return [order for order, days in read.items() if not days.isna().any()]


def _shorten(text: str) -> str:
    return text if len(text) <= EXAMPLE_CHARACTERS else f"{text[: EXAMPLE_CHARACTERS - 1]}…"
