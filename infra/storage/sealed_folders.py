"""Sealed folders on a storage that may fail: every refusal is `StorageUnavailable`.

The folders themselves: `trainers.storage.atomic_folders`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.errors import StorageUnavailable
from trainers.storage import atomic_folders
from trainers.storage.atomic_folders import ASIDE, Content, Reader, as_json, is_abandoned
from trainers.storage.encryption import WrongKey
from trainers.storage.safetensors_file import SafetensorsPieces
from trainers.storage.safetensors_file import tensors_from_bytes as read_tensors

if TYPE_CHECKING:
    import torch

    from trainers.types import Json

__all__ = [
    "ASIDE",
    "StorageDamaged",
    "folder_contents",
    "is_abandoned",
    "list_folder",
    "read_tensors",
    "remove_folder",
    "seal_folder",
    "sweep_aside",
    "verify_folder",
    "write_folder",
]

Tensors = Mapping[str, "torch.Tensor"]


class StorageDamaged(StorageUnavailable):
    """A sealed folder that is not what was written: something is missing, changed or added."""


def write_folder(
    folder: Path,
    tensors: Mapping[str, Tensors] | None = None,
    documents: Mapping[str, Mapping[str, Json]] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> Path:
    """Writes a sealed folder; afterwards it is there whole, or not at all.

    Args:
        folder: where it shall stand; must not exist.
        tensors: file name (`….safetensors`) → tensors by name.
        documents: file name (`….json`) → plain JSON values.
        files: file name → bytes.
    """
    with _map_os_errors(folder.parent):
        return atomic_folders.write_folder(folder, folder_contents(tensors, documents, files))


def folder_contents(
    tensors: Mapping[str, Tensors] | None,
    documents: Mapping[str, Mapping[str, Json]] | None,
    files: Mapping[str, bytes] | None,
) -> dict[str, Content]:
    """The files of a sealed folder by name, without the manifest; tensors are read when they are written.

    Raises:
        ValueError: a name that comes twice.
    """
    parts: list[tuple[str, Content]] = list((files or {}).items())
    parts += [(name, as_json(value)) for name, value in (documents or {}).items()]
    parts += [(name, SafetensorsPieces(values)) for name, values in (tensors or {}).items()]
    named = dict(parts)
    if len(named) < len(parts):
        raise ValueError(
            f"a file of a sealed folder must have a name of its own, but got {list(named)} twice"
        )
    return named


def seal_folder(parent: Path, files: Mapping[str, Content], name_of: Callable[[bytes], str]) -> Path:
    """`trainers.storage.atomic_folders.seal_folder`."""
    with _map_os_errors(parent):
        return atomic_folders.seal_folder(parent, files, name_of)


def verify_folder(
    folder: Path, mark: str | None = None, readers: Mapping[str, Reader] | None = None
) -> dict[str, Any]:
    """The files of a sealed folder by name, exactly as they were written.

    Callers use the returned bytes, so what was checked is what is used.

    Args:
        mark: what the manifest's own SHA-256 (64 hex digits) must begin with, where it is known; 16 digits
            at least.
        readers: as in `trainers.storage.atomic_folders.read_folder`.

    Raises:
        StorageDamaged: names the file and what is wrong with it.
        StorageUnavailable: the file system refused, or the key that opens it is not here.
        FileNotFoundError: the folder itself is not there.
    """
    try:
        with _map_os_errors(folder):
            return atomic_folders.read_folder(folder, manifest_sha256=mark, readers=readers)
    except atomic_folders.MissingFolder as error:
        raise FileNotFoundError(errno.ENOENT, error.found, str(folder)) from error
    except atomic_folders.DamagedFolder as error:
        raise StorageDamaged(error.must, error.found) from error
    except WrongKey as error:
        raise StorageUnavailable(error.must, error.found, error.do) from error


def remove_folder(folder: Path) -> None:
    """Removes a sealed folder so that no reader ever lists a part of it. Gone already is fine."""
    with _map_os_errors(folder):
        atomic_folders.remove_folder(folder)


def sweep_aside(parent: Path) -> None:
    """Removes what dead writers left aside in `parent`; never what a live one is writing."""
    with _map_os_errors(parent):
        atomic_folders.sweep_aside(parent)


def list_folder(folder: Path) -> list[str]:
    """The names in a folder; none where it is not there."""
    with _map_os_errors(folder):
        return atomic_folders.list_folder(folder)


@contextmanager
def _map_os_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _storage_error(error, path) from error


def _storage_error(error: OSError, path: Path) -> StorageUnavailable:
    code = errno.errorcode.get(error.errno or 0, type(error).__name__)
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    room, access = (
        "free some space there or name another storage",
        "see that the path can be read and written",
    )
    return StorageUnavailable(
        "the storage must take and give what training keeps",
        f"{code} ({error.strerror}) at {error.filename or path}",
        room if full else access,
    )
