"""From raw Arrow columns to the kinds that families read: number, category, text, time."""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trainers.data.arrow_strings import LazyStrings, is_strings, null_missing, plain_strings
from trainers.data.cell_values import MISSING_NUMBERS, MISSING_WORDS, unify_spellings
from trainers.data.dataset import Column, ColumnKind
from trainers.data.hashing import split_chunks
from trainers.data.raw import RawColumn, RawFiles
from trainers.errors import InputError
from trainers.storage.shared_folders import shared_folder
from trainers.types import Array, Cell

ISO_DATE = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}.*)?$"
LEADING_ZERO = r"^[+-]?0\d"  # a postal code or a part number, not a quantity
BYTES_LOOKED_AT = 8  # of a column
SOUNDS = (b"RIFF", b"fLaC", b"OggS", b"ID3")  # what clips begin with; a WebP picture has been opened before
LIST_ROWS = 2_000_000  # more strings than this stay in Arrow's memory map


def kind_of(name: str, column: RawColumn) -> ColumnKind:
    """What a column holds, by its type and all its values.

    Raises:
        InputError: it holds lists or other nested values.
    """
    if isinstance(column, RawFiles):
        return column.kind
    if _holds_images(column.type):
        _refuse_other_bytes(name, column)
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
    if pa.types.is_nested(kind):
        do = f"{do}, or give each value in it a column of its own"
    elif pa.types.is_duration(kind) or pa.types.is_time(kind):
        do = f"{do}, or write seconds as a number"
    raise InputError(
        "a column must hold numbers, words, texts, times or images",
        f"{kind} in column {name!r}",
        do,
        key=("data", "columns"),
    )


def _refuse_other_bytes(name: str, column: pa.ChunkedArray) -> None:
    """Bytes are pictures where one of the first is; all damaged ones are named when they are read."""
    from PIL import Image

    looked_at = column.slice(0, BYTES_LOOKED_AT).to_pylist()
    found = (value.get("bytes") if isinstance(value, Mapping) else value for value in looked_at)
    first = [value for value in found if value is not None]
    for value in first:
        try:
            with warnings.catch_warnings(), Image.open(io.BytesIO(value)):
                return
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue
    if first:
        do = f"leave it out with data.columns.drop: [{name}], or save text: column.str.decode('utf-8')"
        must = "a column of bytes must hold pictures"
        if any(value.startswith(SOUNDS) for value in first):
            do = "write the clips as files in one folder a class, and audio:DIR"
            raise InputError(must, f"sound in column {name!r}", do, key=("data", "columns"))
        raise InputError(must, f"none in the first rows of column {name!r}", do, key=("data", "columns"))


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
    values = piece if _are_cast(piece) else _number_strings(piece)
    if pc.any(pc.match_substring_regex(values, LEADING_ZERO)).as_py():
        return False
    return values is piece or _are_cast(values)


def _are_cast(strings: pa.Array) -> bool:
    """Whether all are plain numbers, asked first of each column: a table may have thousands."""
    try:
        strings.cast(pa.float64())
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
    columns: Mapping[str, RawColumn],
    kinds: Mapping[str, ColumnKind],
    folder: Path | None,
    codes: Collection[str] = (),
) -> dict[str, Column]:
    """The columns as their kinds; numbers of a source too large for memory stand in files of the folder.

    Args:
        codes: columns in which NA is a value, see `RawDataset`.
    """
    numeric = [name for name in columns if kinds[name] in ("number", "time")]
    arrays = _numbers_on_disk(columns, kinds, numeric, folder) if folder else {}
    return {
        name: Column(
            name=name,
            kind=kinds[name],
            values=arrays[name] if name in arrays else _convert_values(name, column, kinds[name], codes),
        )
        for name, column in columns.items()
    }


def _numbers_on_disk(
    columns: Mapping[str, RawColumn], kinds: Mapping[str, ColumnKind], names: list[str], folder: Path
) -> dict[str, npt.NDArray[np.float64]]:
    def build(aside: Path) -> None:
        for number, name in enumerate(names):
            shape = (len(columns[name]),)
            file = np.lib.format.open_memmap(aside / f"{number}.npy", "w+", np.float64, shape)
            _fill_numbers(file, name, columns[name], kinds[name])
            file.flush()

    digest = hashlib.sha256(repr([(name, kinds[name]) for name in names]).encode()).hexdigest()[:16]
    where = shared_folder(folder / f"numbers-{digest}", build)
    return {name: np.load(where / f"{number}.npy", mmap_mode="r") for number, name in enumerate(names)}


def _convert_values(
    name: str, column: RawColumn, kind: ColumnKind, codes: Collection[str]
) -> Array | Sequence[Cell]:
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
    strings = LazyStrings(column, _missing_words(kind, name in codes))
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
    spelt = is_strings(piece.type) and not _are_cast(piece)
    values = _number_strings(piece) if spelt else piece
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


def _missing_words(kind: ColumnKind, is_code: bool) -> Sequence[str]:
    if kind == "text":
        return [""]
    return [word for word in MISSING_WORDS if word != "na"] if is_code else MISSING_WORDS


def missing_mask(column: RawColumn, kind: ColumnKind, *, is_code: bool = False) -> npt.NDArray[np.bool_]:
    """Where the column has no value, bool [N].

    Args:
        is_code: NA is a value, see `RawDataset`.
    """
    if isinstance(column, RawFiles):
        return np.zeros(len(column), np.bool_)
    words = pa.array(MISSING_NUMBERS if kind == "number" else _missing_words(kind, is_code))
    missing = np.empty(len(column), np.bool_)
    at = 0
    for piece in split_chunks(column):
        values = null_missing(piece, words) if is_strings(piece.type) else piece
        empty = values.is_null() if kind != "number" else pa.array(np.isnan(_to_numbers(piece)))
        missing[at : at + len(piece)] = empty.to_numpy(zero_copy_only=False)
        at += len(piece)
    return missing
