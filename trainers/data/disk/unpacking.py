"""Packed files, opened by how their names end, in any letters, as training and `predict` read them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from trainers.data.disk.paths import SOURCE_KEY
from trainers.errors import InputError

CODECS = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4", ".br": "brotli"}


def open_unpacked(path: Path) -> pa.NativeFile:
    """The file's bytes, unpacked; what pyarrow detects itself, but for endings in capitals."""
    return pa.input_stream(str(path), compression=CODECS.get(path.suffix.lower()))


def bare_name(name: str) -> str:
    """A file's name in small letters, without what says how it is packed."""
    small = name.lower()
    packed = next((ending for ending in CODECS if small.endswith(ending)), "")
    return small.removesuffix(packed)


@contextmanager
def refuse_unreadable(path: Path) -> Iterator[None]:
    """Damaged archives, disks and folders as wrong input.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        yield
    except (OSError, EOFError, pa.ArrowException) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        do = "fetch or pack it again: what its name ends with must be how it is packed"
        raise InputError(f"{path} must be a readable file", text, do, key=SOURCE_KEY) from error
