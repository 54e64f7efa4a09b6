"""Folders that are whole or not there: written aside, fsynced, renamed, and checked by SHA-256 when read.

Beside its files such a folder holds `manifest.json` with the size and the SHA-256 of each. Readers use the
bytes that were checked, nothing is unpickled, and a file that the manifest does not name makes the folder
damaged.
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
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from trainers.errors import InputError

FORMAT = 1
MANIFEST = "manifest.json"
ASIDE = ".aside-"
# MLflow writes this into a model's folder when it is loaded by its registered name.
FOREIGN = frozenset({"registered_model_meta"})
_STALE_S = 86_400.0  # what another host left aside is taken for dead after a day
_LEAST_DIGITS = 16  # of a manifest's SHA-256: fewer could be met by another manifest


class Damaged(InputError):
    """A folder that is not what was written: something is missing, changed or added."""


class Gone(Damaged):
    """The folder itself is not there."""


def write_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Writes the folder; afterwards it is there whole, or not at all.

    What writers that died left aside beside it is cleared.

    Args:
        folder: where it shall stand; must not exist.
        files: plain file name → bytes.

    Raises:
        ValueError: a name that is not a plain file name.
        OSError: the file system refused, or the folder exists; what was written is removed again.
    """
    written = seal(folder.parent, files, lambda _: folder.name)
    with suppress(OSError):  # the new one is there: what is left aside is no reason to fail
        sweep_aside(folder.parent)
    return written


def seal(parent: Path, files: Mapping[str, bytes], name_of: Callable[[bytes], str]) -> Path:
    """Writes files and their manifest aside in `parent`, then renames to `name_of(manifest's bytes)`.

    Raises:
        ValueError: a name that is not a plain file name.
        OSError: the file system refused; what was written is removed again.
    """
    for name in files:
        if not _plain(name):
            raise ValueError(f"a file of a sealed folder must have a plain name, but got {name!r}")
    manifest = as_json({"format": FORMAT, "files": {name: _entry(file) for name, file in files.items()}})
    parent.mkdir(parents=True, exist_ok=True)
    aside = _aside(parent)
    try:
        aside.mkdir()
        for name, content in (*files.items(), (MANIFEST, manifest)):
            _write(aside / name, content)
        _sync(aside)
        target = parent / name_of(manifest)
        os.rename(aside, target)
        _sync(parent)
    except BaseException:  # whatever stopped it, a half-written folder must not stay
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return target


def read_folder(folder: Path, *, manifest_sha256: str | None = None) -> dict[str, bytes]:
    """The files of a folder by name, exactly as they were written.

    Args:
        manifest_sha256: what the manifest itself must hash to, where that is known from elsewhere: its
            hex digits, at least the first 16.

    Raises:
        Gone: the folder itself is not there.
        Damaged: names the file and what is wrong with it.
        OSError: the file system refused.
    """
    listed = _manifest(folder, manifest_sha256)
    added = {name for name in list_folder(folder) if name not in FOREIGN} - listed.keys() - {MANIFEST}
    if added:
        raise _damaged(folder, f"{min(added)!r}, which the manifest does not name")
    return {name: _verified(folder, name, entry) for name, entry in listed.items()}


def manifest_hash(folder: Path) -> str:
    """SHA-256 of the manifest: with it the whole folder is known."""
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()


def remove_folder(folder: Path) -> None:
    """Removes a folder so that no reader ever sees a part of it. Gone already is fine.

    Raises:
        OSError: the file system refused.
    """
    aside = _aside(folder.parent)
    with suppress(FileNotFoundError):
        os.rename(folder, aside)
        shutil.rmtree(aside, ignore_errors=True)


def sweep_aside(parent: Path) -> None:
    """Removes what dead writers left aside in `parent`; never what a live one is writing.

    Raises:
        OSError: the file system refused.
    """
    for name in list_folder(parent):
        if name.startswith(ASIDE) and _abandoned(parent / name):
            shutil.rmtree(parent / name, ignore_errors=True)


def list_folder(folder: Path) -> list[str]:
    """The names in a folder; none where it is not there.

    Raises:
        OSError: the file system refused.
    """
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def as_json(value: Any) -> bytes:
    """Plain JSON, as bytes; refuses not-finite numbers with a ValueError."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _aside(parent: Path) -> Path:
    return parent / f"{ASIDE}{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"


def _abandoned(aside: Path) -> bool:
    host, _, pid = aside.name.removeprefix(ASIDE).rpartition("-")[0].rpartition("-")
    if host == socket.gethostname() and pid.isdigit():
        return not _alive(int(pid))
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


def _manifest(folder: Path, expected: str | None) -> dict[str, dict[str, Any]]:
    content = _read(folder, MANIFEST)
    if expected is not None and not _begins(hashlib.sha256(content).hexdigest(), expected):
        raise _damaged(folder, f"another {MANIFEST} than was recorded (SHA-256 differs)")
    try:
        document = json.loads(content)
        listed: dict[str, dict[str, Any]] = document["files"]
        formed = all(_plain(name) and {"sha256", "size"} <= entry.keys() for name, entry in listed.items())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _damaged(folder, f"a {MANIFEST} that can't be read")
    if document.get("format") != FORMAT:
        raise _damaged(folder, f"format {document.get('format')!r}, where this version reads {FORMAT}")
    if not formed:
        raise _damaged(folder, f"a {MANIFEST} with an entry that can't be used")
    return listed


def _begins(digest: str, expected: str) -> bool:
    return len(expected) >= _LEAST_DIGITS and digest.startswith(expected)


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
    except (FileNotFoundError, NotADirectoryError):
        if folder.is_dir():
            raise _damaged(folder, f"no {name}")
        raise Gone(f"{folder} must hold what was written to it", "no such folder", "fetch or make it again")
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _damaged(folder, f"{name}, a link")
        raise
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def _damaged(folder: Path, found: str) -> Damaged:
    return Damaged(f"{folder} must hold what was written to it", found, "fetch or make it again")


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


def _plain(name: object) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..", MANIFEST) and not set(name) & set("/\\\0")
