"""Columns of Arrow as strings, and which of them stand for a missing value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import pyarrow as pa
import pyarrow.compute as pc

from trainers.data.hashing import split_chunks


class LazyStrings(Sequence[str | None]):
    """Strings of an Arrow column that may be larger than memory; a block at a time becomes Python's."""

    def __init__(self, column: pa.ChunkedArray, missing: Sequence[str]) -> None:
        self._column = column
        self._missing = pa.array(missing)
        self._block_start = -1
        self._block: list[str | None] = []

    def __len__(self) -> int:
        return len(self._column)

    @overload
    def __getitem__(self, index: int) -> str | None: ...

    @overload
    def __getitem__(self, index: slice) -> list[str | None]: ...

    def __getitem__(self, index: int | slice) -> str | list[str | None] | None:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            return self._read_chunk(self._column.slice(start, max(0, stop - start)))[::step]
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexError(index)
        start = at - at % 1024
        if start != self._block_start:
            self._block, self._block_start = self._read_chunk(self._column.slice(start, 1024)), start
        return self._block[at - start]

    def __iter__(self) -> Iterator[str | None]:
        for piece in split_chunks(self._column):
            yield from self._read_chunk(pa.chunked_array([piece]))

    def _read_chunk(self, column: pa.ChunkedArray) -> list[str | None]:
        values: list[str | None] = null_missing(plain_strings(column), self._missing).to_pylist()
        return values


def null_missing(column: pa.ChunkedArray, missing: pa.Array) -> pa.ChunkedArray:
    """The strings with null where one of the words for a missing value stands."""
    folded = pc.utf8_lower(pc.utf8_trim_whitespace(column))
    return pc.if_else(pc.is_in(folded, value_set=missing.cast(column.type)), None, column)


def plain_strings(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values as strings: a dictionary's entries, whole numbers without their fraction."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = pa.chunked_array([c.dictionary_decode() for c in column.chunks], type=kind.value_type)
        return plain_strings(column)
    if pa.types.is_floating(kind):  # 1.0 is the label 1
        whole = pc.all(pc.equal(column, pc.round(column))).as_py()
        column = column.cast(pa.int64()) if whole and _no_nan(column) else column
    return column if pa.types.is_large_string(kind) else column.cast(pa.string())


def _no_nan(column: pa.ChunkedArray) -> bool:
    return not pc.any(pc.is_nan(column)).as_py() and bool(pc.all(pc.less(pc.abs(column), 2.0**53)).as_py())


def is_strings(kind: pa.DataType) -> bool:
    """Whether the Arrow type is one of strings."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
