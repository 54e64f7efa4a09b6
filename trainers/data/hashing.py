"""Content hashes of rows and the fingerprint of a data set.

A value's hash depends on its content alone, not on the file's format, on the kind that was inferred for its
column, or on how a number is spelt (`1`, `1.0`): so a row keeps its hash when a file grows or is saved anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from trainers.data.mixing import Hashes, mix_hashes
from trainers.errors import InputError
from trainers.types import Array, Cell

CHUNK_ROWS = 65_536
MISSING = np.uint64(0x6D697373696E6721)
NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"


def hash_column(column: pa.ChunkedArray) -> Hashes:
    """Hash of each value of an Arrow column, uint64 [N]."""
    hashes = np.empty(len(column), np.uint64)
    at = 0
    for chunk in split_chunks(column):
        hashes[at : at + len(chunk)] = _hash_chunk(chunk)
        at += len(chunk)
    return hashes


def split_chunks(column: pa.ChunkedArray) -> Iterable[pa.Array]:
    """The column's values, `CHUNK_ROWS` at most at a time."""
    for chunk in column.chunks:
        for at in range(0, len(chunk), CHUNK_ROWS):
            yield chunk.slice(at, CHUNK_ROWS)


def _hash_chunk(chunk: pa.Array) -> Hashes:
    kind = chunk.type
    if pa.types.is_dictionary(kind):
        return _hash_chunk(chunk.dictionary_decode())
    if pa.types.is_null(kind):
        return np.full(len(chunk), MISSING)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _hash_numbers(chunk.cast(pa.float64(), safe=False))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _hash_strings(chunk)
    if pa.types.is_boolean(kind) or pa.types.is_temporal(kind):
        return _hash_strings(chunk.cast(pa.string()))
    return np.fromiter((hash_bytes(_as_bytes(value)) for value in chunk.to_pylist()), np.uint64, len(chunk))


def _as_bytes(value: Cell) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, dict) and isinstance(
        value.get("bytes"), bytes
    ):  # an encoded image, as datasets keep it
        return bytes(value["bytes"])
    return json.dumps(value, sort_keys=True, default=str).encode()


def _hash_numbers(chunk: pa.Array) -> Hashes:
    numbers = chunk.to_numpy(zero_copy_only=False) + 0.0  # -0.0 becomes 0.0
    return np.where(np.isnan(numbers), MISSING, mix_hashes(numbers.view(np.uint64)))


def _hash_strings(chunk: pa.Array) -> Hashes:
    if pc.all(pc.match_substring_regex(chunk, NUMBER), skip_nulls=False).as_py():
        return _hash_numbers(chunk.cast(pa.float64()))
    text = pc.if_else(pc.equal(chunk, ""), None, chunk)
    spelt = pc.fill_null(pc.match_substring_regex(text, NUMBER), False)
    if pc.all(pc.or_(spelt, pc.is_null(text))).as_py() is not False:
        return _hash_numbers(text.cast(pa.float64()))
    hashes = _hash_words(text)
    if pc.any(spelt).as_py():
        where = spelt.to_numpy(zero_copy_only=False)
        hashes[where] = _hash_numbers(text.filter(spelt).cast(pa.float64()))
    return hashes


def _hash_words(chunk: pa.Array) -> Hashes:
    from pandas.util import hash_array

    missing = chunk.is_null().to_numpy(zero_copy_only=False)
    words = chunk.fill_null("").to_numpy(zero_copy_only=False)
    hashes: Hashes = hash_array(words, categorize=False)
    hashes[missing] = MISSING
    return hashes


def hash_bytes(data: bytes | memoryview) -> int:
    """64-bit hash of the bytes."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def hash_arrays(images: Array) -> Hashes:
    """Hash of each row of an array, its shape included, uint64 [N]."""
    shape = np.uint64(hash_bytes(str((images.shape[1:], images.dtype.str)).encode()))
    rows = (hash_bytes(np.ascontiguousarray(row).tobytes()) for row in images)
    return mix_hashes(np.fromiter(rows, np.uint64, len(images)) ^ shape)


def hash_files(paths: Sequence[str]) -> Hashes:
    """Hash of each file's content, uint64 [N]."""
    with ThreadPoolExecutor(max_workers=4) as pool:
        return np.fromiter(pool.map(_hash_file, paths, chunksize=64), np.uint64, len(paths))


def _hash_file(path: str) -> int:
    try:
        return hash_bytes(Path(path).read_bytes())
    except OSError as error:
        raise InputError("every file of the data must be readable", f"{path}: {error.strerror}") from error


def hash_rows(columns: Mapping[str, Hashes], rows: int) -> Hashes:
    """Hash of each row from those of its named values; the order of columns does not matter."""
    total = np.zeros(rows, np.uint64)
    for name, hashes in columns.items():
        total += mix_hashes(hashes ^ np.uint64(hash_bytes(name.encode())))
    return mix_hashes(total)


def fingerprint(rows: Hashes, part: npt.NDArray[np.int8] | None, *facts: object) -> str:
    """32 hex digits over all rows in any order, the part that the source put each in, and the facts."""
    if part is not None:
        rows = mix_hashes(rows + part.astype(np.uint64))
    first, second = np.sum(mix_hashes(rows)), np.sum(mix_hashes(rows ^ MISSING))
    document = json.dumps([len(rows), int(first), int(second), *facts])
    return hashlib.sha256(document.encode()).hexdigest()[:32]
