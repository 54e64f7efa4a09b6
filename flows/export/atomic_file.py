"""A file that a command writes where somebody named it: whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from infra.errors import StorageUnavailable


def write_atomic(path: Path, content: bytes, what: str) -> None:
    """Writes aside first, so that nobody ever opens a part of it.

    Args:
        what: what is written, for the error (`report`, `archive`, …).

    Raises:
        StorageUnavailable: it cannot be written there.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_bytes(content)
        aside.replace(path)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise StorageUnavailable(
            f"the {what} must be written", f"{path}: {error.strerror}", "name another file with --out"
        ) from error
