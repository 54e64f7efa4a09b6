"""From raw Arrow columns to the kinds that families read: number, category, text, time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trainers.data.cell_values import MISSING_NUMBERS, MISSING_WORDS, unify_spellings
from trainers.data.dataset import Column, ColumnKind
from trainers.data.hashing import split_chunks
from trainers.data.raw import RawColumn, RawFiles
from trainers.errors import InputError
from trainers.storage.shared_folders import shared_folder
from trainers.types import Array, Cell

ISO_DATE = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?$"
LEADING_ZERO = r"^[+-]?0\d"  # a postal code or a part number, not a quantity
LIST_ROWS = 2_000_000  # more strings than this stay in Arrow's memory map


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


def kind_of(name: str, column: RawColumn) -> ColumnKind:
    """What a column holds, by its type and all its values.

    Raises:
        InputError: it holds lists or other nested values.
    """
    if isinstance(column, RawFiles):
        return column.kind
    if _holds_images(column.type):
        return "image"
    kind = column.type
    if pa.types.is_dictionary(kind):
        return kind_of(name, plain_strings(column))
    if is_strings(kind):
        return _kind_of_strings(column)
    if pa.types.is_boolean(kind):
        return "category"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "time"
    if pa.types.is_null(kind):
        return "number"
    do = f"leave it out with data.columns.drop: [{name}]"
    raise InputError(
        "a column must hold numbers, words, texts, times or images",
        f"{kind} in column {name!r}",
        do,
        key=("data", "columns"),
    )


def _holds_images(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or (pa.types.is_struct(kind) and {field.name for field in kind} == {"bytes", "path"})
    )


def _kind_of_strings(column: pa.ChunkedArray) -> ColumnKind:
    if all(_all_numbers(piece) for piece in split_chunks(column)):
        return "number"
    if all(_all_match(piece, ISO_DATE) for piece in split_chunks(column)):
        return "time"
    return "text" if _looks_like_text(column) else "category"


def _all_numbers(piece: pa.Array) -> bool:
    values = _number_strings(piece)
    if pc.any(pc.match_substring_regex(values, LEADING_ZERO)).as_py():
        return False
    try:
        values.cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def _number_strings(piece: pa.Array) -> pa.Array:
    return pc.utf8_trim_whitespace(null_missing(piece, pa.array(MISSING_NUMBERS)))


def _all_match(piece: pa.Array, pattern: str) -> bool:
    values = null_missing(piece, pa.array(MISSING_WORDS))
    return pc.all(pc.match_substring_regex(values, pattern)).as_py() is not False


def _looks_like_text(column: pa.ChunkedArray) -> bool:
    """Three words on average, and most of them never twice: prose rather than names of categories."""
    sample = pc.drop_null(null_missing(column.slice(0, 20_000), pa.array(MISSING_WORDS)))
    if not len(sample):
        return False
    words = pc.mean(pc.add(pc.count_substring_regex(sample, r"\S+"), 0)).as_py()
    distinct = pc.count_distinct(sample).as_py() / len(sample)
    return bool(words >= 3 and (distinct > 0.5 or words >= 12))


def convert_columns(
    columns: Mapping[str, RawColumn], kinds: Mapping[str, ColumnKind], folder: Path | None
) -> dict[str, Column]:
    """The columns as their kinds; numbers of a source too large for memory stand in files of the folder."""
    numeric = [name for name in columns if kinds[name] in ("number", "time")]
    arrays = _numbers_on_disk(columns, kinds, numeric, folder) if folder else {}
    return {
        name: Column(
            name=name,
            kind=kinds[name],
            values=arrays[name] if name in arrays else _convert_values(name, column, kinds[name]),
        )
        for name, column in columns.items()
    }


def _numbers_on_disk(
    columns: Mapping[str, RawColumn], kinds: Mapping[str, ColumnKind], names: list[str], folder: Path
) -> dict[str, npt.NDArray[np.float64]]:
    import hashlib

    def build(aside: Path) -> None:
        for number, name in enumerate(names):
            shape = (len(columns[name]),)
            file = np.lib.format.open_memmap(aside / f"{number}.npy", "w+", np.float64, shape)
            _fill_numbers(file, name, columns[name], kinds[name])
            file.flush()

    digest = hashlib.sha256(repr([(name, kinds[name]) for name in names]).encode()).hexdigest()[:16]
    where = shared_folder(folder / f"numbers-{digest}", build)
    return {name: np.load(where / f"{number}.npy", mmap_mode="r") for number, name in enumerate(names)}


def _convert_values(name: str, column: RawColumn, kind: ColumnKind) -> Array | Sequence[Cell]:
    if isinstance(column, RawFiles):
        return column.values
    if kind == "image":
        return EncodedImages(column)
    if kind in ("number", "time"):
        numbers = np.empty(len(column), np.float64)
        _fill_numbers(numbers, name, column, kind)
        return numbers
    if kind == "category":
        column = _unify_column(plain_strings(column))
    strings = LazyStrings(column, [""] if kind == "text" else MISSING_WORDS)
    return strings if len(column) > LIST_ROWS else list(strings)


def _unify_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The categories with one spelling for each: files of one source may differ in theirs."""
    spelt = unify_spellings(text for text in pc.unique(column).to_pylist() if text is not None)
    if not spelt:
        return column
    codes = column.combine_chunks().dictionary_encode()
    words = [spelt.get(text, text) for text in codes.dictionary.to_pylist()]
    return pa.chunked_array([pa.array(words, column.type).take(codes.indices)])


class EncodedImages(Sequence[bytes | str]):
    """Encoded images of an Arrow column: bytes, or the path of a file."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        self._column = column

    def __len__(self) -> int:
        return len(self._column)

    @overload
    def __getitem__(self, index: int) -> bytes | str: ...

    @overload
    def __getitem__(self, index: slice) -> list[bytes | str]: ...

    def __getitem__(self, index: int | slice) -> bytes | str | list[bytes | str]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        value: bytes | str | Mapping[str, bytes | str] = self._column[int(index)].as_py()
        return (value["bytes"] or value["path"]) if isinstance(value, Mapping) else value


def _fill_numbers(numbers: npt.NDArray[np.float64], name: str, column: RawColumn, kind: ColumnKind) -> None:
    assert not isinstance(column, RawFiles)
    at = 0
    for piece in split_chunks(column):
        values = _to_numbers(piece) if kind == "number" else _to_seconds(name, piece)
        numbers[at : at + len(piece)] = values
        at += len(piece)


def _to_numbers(piece: pa.Array) -> npt.NDArray[np.float64]:
    values = _number_strings(piece) if is_strings(piece.type) else piece
    numbers: npt.NDArray[np.float64] = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _to_seconds(name: str, piece: pa.Array) -> npt.NDArray[np.float64]:
    """Seconds since 1970 in UTC; NaN where missing."""
    import pandas as pd

    if pa.types.is_integer(piece.type) or pa.types.is_floating(piece.type):
        return _to_numbers(piece)
    values = null_missing(piece, pa.array(MISSING_WORDS)) if is_strings(piece.type) else piece
    if is_strings(piece.type) and _all_numbers(piece):
        return _to_numbers(piece)
    texts = pd.Series(values.to_pylist(), dtype=object)
    moments = pd.to_datetime(texts, utc=True, format="ISO8601", errors="coerce")
    wrong = texts[moments.isna() & texts.notna()]
    if len(wrong):
        raise InputError(
            f"column {name!r} must hold numbers or ISO 8601 dates, as 2024-05-31T12:00:00Z",
            f"{wrong.iloc[0]!r} in {len(wrong):,} of {len(texts):,} rows",
            f"correct them, say otherwise: data.columns.types: {{{name}: category}}, or drop: [{name}]",
            key=("data", "columns"),
        )
    seconds: npt.NDArray[np.float64] = moments.astype("datetime64[us, UTC]").astype("int64").to_numpy() / 1e6
    return np.where(moments.isna().to_numpy(), np.nan, seconds)


def missing_mask(column: RawColumn, kind: ColumnKind) -> npt.NDArray[np.bool_]:
    """Where the column has no value, bool [N]."""
    if isinstance(column, RawFiles):
        return np.zeros(len(column), np.bool_)
    words = pa.array([""] if kind == "text" else MISSING_NUMBERS if kind == "number" else MISSING_WORDS)
    missing = np.empty(len(column), np.bool_)
    at = 0
    for piece in split_chunks(column):
        values = null_missing(piece, words) if is_strings(piece.type) else piece
        empty = values.is_null() if kind != "number" else pa.array(np.isnan(_to_numbers(piece)))
        missing[at : at + len(piece)] = empty.to_numpy(zero_copy_only=False)
        at += len(piece)
    return missing
