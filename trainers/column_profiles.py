"""What each column of a data set holds, in a line, and what about it is worth a thought."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trainers.column_warnings import warn_of_nested, warn_of_numbers, warn_of_words
from trainers.data.dataset import Column, Dataset
from trainers.data.picture_headers import has_several_frames, peak_of_deep
from trainers.data.prepare import fit_table
from trainers.errors import InputError

EXAMPLE_CHARACTERS = 30
DEEP_PEAK = 1 << 13  # of 16 bits: what stays below has 32 greys of 256


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
        return _profile_numbers(column, left_out)
    if column.kind in ("image", "audio"):
        warning = _warn_of_pictures(column) if column.kind == "image" else ""
        return ColumnProfile(
            name=column.name, kind=column.kind, different=None, missing=0, example="", warning=warning
        )
    counts = Counter(column.values)
    missing = counts.pop(None, 0)
    first = next((value for value in column.values if value is not None), "")
    warning = ""
    if column.kind == "text":
        warning = warn_of_nested(column.name, counts)
    elif dataset.kind != "interactions":  # whose names are names
        warning = warn_of_words(column.name, counts, dataset.rows - missing)
    return ColumnProfile(
        name=column.name, kind=column.kind, different=len(counts), missing=missing,
        example=_shorten(repr(first)), left_out=left_out, warning="" if left_out else warning,
    )  # fmt: skip


def _warn_of_pictures(column: Column) -> str:
    """Of several frames; of 16 bits used in part, as cameras of 10 and 12 write them: models read 8."""
    peak = peak_of_deep(column)
    if peak is None and has_several_frames(column):
        return "pictures of several pages or frames, of which the first counts"
    if peak is None or peak >= DEEP_PEAK:
        return ""
    return (
        f"16 bits of which {peak.bit_length()} are used, so that {peak // 257 + 1} greys are left: scale the "
        f"pictures first, x * {65_535 // max(1, peak)}"
    )


def _profile_numbers(column: Column, left_out: str) -> ColumnProfile:
    values = np.asarray(column.values)
    present = values[~np.isnan(values)]
    different = len(np.unique(present))
    example = "" if not len(present) else f"{present[0]:.6g}"
    if column.kind == "time" and len(present):
        example = str(np.datetime64(int(present[0]), "s"))
    warning = warn_of_numbers(column.name, present, different) if column.kind == "number" else ""
    return ColumnProfile(
        name=column.name, kind=column.kind, different=different, missing=len(values) - len(present),
        example=example, left_out=left_out, warning="" if left_out else warning,
    )  # fmt: skip


def _shorten(text: str) -> str:
    return text if len(text) <= EXAMPLE_CHARACTERS else f"{text[: EXAMPLE_CHARACTERS - 1]}…"
