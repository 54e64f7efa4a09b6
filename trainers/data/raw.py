"""What a source hands over before anything is inferred: raw columns and the parts that it brings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trainers.data import hashing
from trainers.data.dataset import Kind, Task
from trainers.data.number_spellings import NumberMarks
from trainers.errors import InputError
from trainers.nearest import advice
from trainers.types import Array, Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class RawImages:
    """Images: an array uint8 [N, H, W, C], or N paths of files whose content hashes are known."""

    values: npt.NDArray[np.uint8] | list[str]
    hashes: npt.NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.values)

    def keep(self, mask: npt.NDArray[np.bool_]) -> RawImages:
        """Only the rows that the mask names."""
        kept = np.flatnonzero(mask)
        values = self.values[kept] if isinstance(self.values, np.ndarray) else [self.values[i] for i in kept]
        return RawImages(values=values, hashes=self.hashes[kept])


RawColumn: TypeAlias = "pa.ChunkedArray | RawImages"


@dataclass(frozen=True, slots=True, kw_only=True)
class RawDataset:
    """A source's rows.

    Attributes:
        columns: Arrow columns (strings where the format has no types) and images.
        part: int8 [N], index into `split.PARTS`, where the source brings parts.
        kind, task, target: what the source itself knows.
        marks: what the source says of its numbers.
        codes: columns of countries or regions, in which NA is one of them and no word for a missing value.
        inputs, content: uint64 [N], hashes of each row's features, and of its features and target.
        folder: where a source that is too large for memory keeps what is derived from it; else None.
        notes: for people.
    """

    columns: Mapping[str, RawColumn]
    part: npt.NDArray[np.int8] | None = None
    kind: Kind | None = None
    task: Task | None = None
    target: str | None = None
    marks: NumberMarks = field(default_factory=NumberMarks)
    codes: frozenset[str] = frozenset()
    inputs: npt.NDArray[np.uint64] | None = None
    content: npt.NDArray[np.uint64] | None = None
    folder: Path | None = None
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        """N, over all parts."""
        return len(next(iter(self.columns.values()))) if self.columns else 0


def column_hashes(column: RawColumn) -> npt.NDArray[np.uint64]:
    """Content hash of each value, uint64 [N]."""
    if isinstance(column, RawImages):
        return column.hashes
    return hashing.hash_column(column)


def arrow_column(values: Iterable[Cell] | Array) -> pa.ChunkedArray:
    """The values as an Arrow column."""
    return pa.chunked_array([pa.array(values)])


def check_names(given: Iterable[str], known: Iterable[str], *key: str) -> None:
    """Refuses a key that nothing reads.

    Raises:
        InputError: names the nearest key that is known.
    """
    known = list(known)
    for name in given:
        if name not in known:
            raise InputError(
                f"a key of {'.'.join(key)} must be known",
                repr(name),
                advice(str(name), known),
                key=(*key, name),
            )
