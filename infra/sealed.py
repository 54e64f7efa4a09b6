"""Folders that are whole or not there: written aside, fsynced, renamed, and checked by SHA-256 when read.

A sealed folder holds safetensors, JSON and plain files, and `manifest.json` with the size and the SHA-256 of
each. Nothing in it is ever unpickled, and a file that the manifest does not name makes the folder damaged.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.errors import StorageUnavailable

if TYPE_CHECKING:
    import torch

FORMAT = 1
MANIFEST = "manifest.json"
ASIDE = ".aside-"
_STALE_S = 86_400.0  # what another host left aside is taken for dead after a day

Tensors = Mapping[str, "torch.Tensor"]


class Damaged(StorageUnavailable):
    """A sealed folder that is not what was written: something is missing, changed or added."""


def write_folder(
    folder: Path,
    tensors: Mapping[str, Tensors] | None = None,
    documents: Mapping[str, Any] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> Path:
    """Writes a sealed folder; afterwards it is there whole, or not at all.

    Args:
        folder: where it shall stand; must not exist.
        tensors: file name (`….safetensors`) → tensors by name; moved to the CPU, none may share memory.
        documents: file name (`….json`) → plain JSON values.
        files: file name → bytes.

    Raises:
        StorageUnavailable: the file system refused (full, read-only, gone, an I/O error), or the folder
            exists; what was written is removed again.
    """
    return seal_aside(folder.parent, contents(tensors, documents, files), lambda _: folder.name)


def contents(
    tensors: Mapping[str, Tensors] | None,
    documents: Mapping[str, Any] | None,
    files: Mapping[str, bytes] | None,
) -> dict[str, bytes]:
    """The files of a sealed folder, as bytes by name, without the manifest.

    Raises:
        ValueError: a name that is not a plain file name, or that comes twice.
    """
    parts: list[tuple[str, bytes]] = list((files or {}).items())
    parts += [(name, _document(value)) for name, value in (documents or {}).items()]
    parts += [(name, _tensors(values)) for name, values in (tensors or {}).items()]
    names = [name for name, _ in parts]
    for name in names:
        if not _plain(name) or names.count(name) > 1:
            raise ValueError(f"a file of a sealed folder must have a plain name of its own, but got {name!r}")
    return dict(parts)


def seal_aside(parent: Path, parts: Mapping[str, bytes], name_of: Callable[[bytes], str]) -> Path:
    """Writes `parts` and their manifest aside in `parent`, then renames to `name_of(manifest's bytes)`.

    Raises:
        StorageUnavailable: the file system refused; what was written is removed again.
    """
    aside = parent / f"{ASIDE}{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"
    with _storage(parent):
        parent.mkdir(parents=True, exist_ok=True)
        try:
            aside.mkdir()
            manifest = _document({"format": FORMAT, "files": {n: _entry(b) for n, b in parts.items()}})
            for name, content in (*parts.items(), (MANIFEST, manifest)):
                _write(aside / name, content)
            _sync(aside)
            target = parent / name_of(manifest)
            os.rename(aside, target)
            _sync(parent)
        except BaseException:  # whatever stopped it, a half-written folder must not stay
            shutil.rmtree(aside, ignore_errors=True)
            raise
    return target


def verify_folder(folder: Path, mark: str = "") -> dict[str, bytes]:
    """The files of a sealed folder by name, exactly as they were written.

    Callers use the returned bytes, so what was checked is what is used.

    Args:
        mark: what the manifest's own SHA-256 (64 hex digits) must begin with, where it is known.

    Raises:
        Damaged: names the file and what is wrong with it.
        StorageUnavailable: the file system refused.
        FileNotFoundError: the folder itself is not there.
    """
    listed = _manifest(folder, mark)
    found = set(list_folder(folder)) - {MANIFEST}
    if found - listed.keys():
        raise _damaged(folder, f"{min(found - listed.keys())!r}, which the manifest does not name")
    return {name: _verified(folder, name, entry) for name, entry in listed.items()}


def read_tensors(content: bytes) -> dict[str, torch.Tensor]:
    """Tensors by name from the bytes of a safetensors file."""
    from safetensors.torch import load

    tensors: dict[str, torch.Tensor] = load(content)
    return tensors


def remove_folder(folder: Path) -> None:
    """Removes a sealed folder so that no reader ever lists a part of it. Gone already is fine.

    Raises:
        StorageUnavailable: the file system refused.
    """
    aside = folder.parent / f"{ASIDE}{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"
    with _storage(folder):
        try:
            os.rename(folder, aside)
        except FileNotFoundError:
            return
        shutil.rmtree(aside, ignore_errors=True)


def sweep_aside(parent: Path) -> None:
    """Removes what dead writers left aside in `parent`; never what a live one is writing.

    Raises:
        StorageUnavailable: the file system refused.
    """
    for name in list_folder(parent):
        if name.startswith(ASIDE) and _abandoned(parent / name):
            shutil.rmtree(parent / name, ignore_errors=True)


def list_folder(folder: Path) -> list[str]:
    """The names in a folder; none where it is not there.

    Raises:
        StorageUnavailable: the file system refused.
    """
    with _storage(folder):
        try:
            return os.listdir(folder)
        except FileNotFoundError:
            return []


def _abandoned(aside: Path) -> bool:
    host, _, rest = aside.name.removeprefix(ASIDE).rpartition("-")[0].rpartition("-")
    if host == socket.gethostname() and rest.isdigit():
        return not _alive(int(rest))
    try:
        return time.time() - aside.stat(follow_symlinks=False).st_mtime > _STALE_S
    except FileNotFoundError:
        return False


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _manifest(folder: Path, mark: str) -> dict[str, dict[str, Any]]:
    raw = _read(folder, MANIFEST)
    if not hashlib.sha256(raw).hexdigest().startswith(mark):
        raise _damaged(folder, "a manifest.json with other bytes than were written (SHA-256 differs)")
    try:
        document = json.loads(raw)
        listed: dict[str, dict[str, Any]] = document["files"]
        formed = all(_plain(n) and {"sha256", "size"} <= entry.keys() for n, entry in listed.items())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _damaged(folder, "a manifest.json that can't be read")
    if document.get("format") != FORMAT:
        raise _damaged(folder, f"format {document.get('format')!r}, where this version reads {FORMAT}")
    if not formed:
        raise _damaged(folder, "a manifest.json with an entry that can't be used")
    return listed


def _verified(folder: Path, name: str, entry: Mapping[str, Any]) -> bytes:
    content = _read(folder, name)
    if len(content) != entry["size"]:
        raise _damaged(folder, f"{name} of {len(content)} bytes, where {entry['size']} were written")
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise _damaged(folder, f"{name} with other bytes than were written (SHA-256 differs)")
    return content


def _read(folder: Path, name: str) -> bytes:
    try:
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        if not folder.is_dir():
            raise
        raise _damaged(folder, f"no {name}")
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _damaged(folder, f"{name}, a link")
        raise _unavailable(error, folder / name) from error
    with _storage(folder / name), os.fdopen(descriptor, "rb") as file:
        return file.read()


def _damaged(folder: Path, found: str) -> Damaged:
    return Damaged(f"{folder} must hold what was written to it", found)


def _entry(content: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def _write(path: Path, content: bytes) -> None:
    with open(path, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _document(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _tensors(values: Tensors) -> bytes:
    from safetensors.torch import save

    content: bytes = save(_apart({name: tensor.detach().cpu() for name, tensor in values.items()}))
    return content


def _apart(values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Contiguous, no two on the same memory: safetensors refuses tied weights."""
    seen: set[int] = set()
    for name, tensor in values.items():
        place = tensor.untyped_storage().data_ptr()
        values[name] = tensor.clone() if place in seen else tensor.contiguous()
        seen.add(place)
    return values


def _plain(name: object) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..", MANIFEST) and not set(name) & set("/\\\0")


@contextmanager
def _storage(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _unavailable(error, path) from error


def _unavailable(error: OSError, path: Path) -> StorageUnavailable:
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
