"""Folders that are whole or not there: written aside, fsynced, renamed, and checked by SHA-256 when read.

Beside its files such a folder holds `manifest.json` with the size and the SHA-256 of each. Readers use the
bytes that were checked, nothing is unpickled, and a file that the manifest does not name makes the folder
damaged. Where there is a key (`trainers.storage.encryption`) the files are encrypted, and the manifest, which
stays readable, names it: sizes and hashes are those of the encrypted files.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NotRequired, TypeAlias, TypedDict

from trainers.errors import InputError
from trainers.storage.encryption import (
    CIPHER,
    DecryptedFile,
    StorageKey,
    plain_size,
    require_key,
    storage_key,
)
from trainers.storage.machine import machine_id

if TYPE_CHECKING:
    from io import FileIO

    from typing_extensions import Buffer


FORMAT, ENCRYPTED_FORMAT = 1, 2  # versions that cannot decrypt refuse the second by its number
MANIFEST = "manifest.json"
ASIDE = ".aside-"
# MLflow writes this into a model's folder when it is loaded by its registered name.
FOREIGN = frozenset({"registered_model_meta"})
_PIECE_BYTES = 1 << 20
_STALE_S = 86_400.0  # what another machine left aside is taken for dead after a day
_LEAST_DIGITS = 16  # of a manifest's SHA-256: fewer could be met by another manifest


class _FileEntry(TypedDict):
    """What the manifest says of a file."""

    sha256: str
    size: int


class _Manifest(TypedDict):
    """`manifest.json`; `key` is the name of the one that opens the files, where they are encrypted."""

    format: int
    files: dict[str, _FileEntry]
    cipher: NotRequired[str]
    key: NotRequired[str]


class DamagedFolder(InputError):
    """A folder that is not what was written: something is missing, changed or added."""


class MissingFolder(DamagedFolder):
    """The folder itself is not there."""


Content: TypeAlias = "bytes | Iterable[Buffer]"  # whole, or pieces one after another
Reader: TypeAlias = (
    "Callable[[HashingFile | DecryptedFile, int], Any]"  # of an open file and its size: what is made of it
)


def write_folder(folder: Path, files: Mapping[str, Content]) -> Path:
    """Writes the folder; afterwards it is there whole, or not at all.

    What writers that died left aside beside it is cleared.

    Args:
        folder: where it shall stand; must not exist.
        files: plain file name → its content; pieces are taken as they are written.
    """
    written = seal_folder(folder.parent, files, lambda _: folder.name)
    with suppress(OSError):  # the new one is there: what is left aside is no reason to fail
        sweep_aside(folder.parent)
    return written


def seal_folder(parent: Path, files: Mapping[str, Content], name_of: Callable[[bytes], str]) -> Path:
    """Writes files and their manifest aside in `parent`, then renames to `name_of(manifest's bytes)`.

    Raises:
        ValueError: a name that is not a plain file name.
        OSError: the file system refused; what was written is removed again.
    """
    for name in files:
        if not _is_plain_name(name):
            raise ValueError(f"a file of a sealed folder must have a plain name, but got {name!r}")
    key = storage_key()
    parent.mkdir(parents=True, exist_ok=True)
    aside = _aside_path(parent)
    try:
        aside.mkdir()
        entries = {name: _write_file(aside / name, content, key) for name, content in files.items()}
        manifest = as_json({**_describe_format(key), "files": entries})
        _write_file(aside / MANIFEST, manifest)
        _sync_folder(aside)
        target = parent / name_of(manifest)
        os.rename(aside, target)
        _sync_folder(parent)
    except BaseException:  # whatever stopped it, a half-written folder must not stay
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return target


def read_folder(
    folder: Path, *, manifest_sha256: str | None = None, readers: Mapping[str, Reader] | None = None
) -> dict[str, Any]:
    """The files of a folder by name, exactly as they were written.

    Args:
        readers: file name → what makes something else of it than its bytes, while they are read and hashed;
            it may raise a ValueError where it cannot.
        manifest_sha256: what the manifest itself must hash to, where that is known from elsewhere: its
            hex digits, at least the first 16.

    Raises:
        Gone: the folder itself is not there.
        Damaged: names the file and what is wrong with it.
        WrongKey: it is encrypted, and its key is not here.
        OSError: the file system refused.
    """
    document = _read_manifest(folder, manifest_sha256)
    listed, key = document["files"], document.get("key")
    opened = None if key is None else require_key(key, f"{folder}")
    added = {name for name in list_folder(folder) if name not in FOREIGN} - listed.keys() - {MANIFEST}
    if added:
        raise _damage_error(folder, f"{min(added)!r}, which the manifest does not name")
    made = readers or {}
    return {
        name: _read_verified(folder, name, entry, made.get(name), opened) for name, entry in listed.items()
    }


def folder_key(folder: Path) -> str | None:
    """The name of the key that opens a folder; None where it needs none."""
    return _read_manifest(folder, None).get("key")


def manifest_hash(folder: Path) -> str:
    """SHA-256 of the manifest: with it the whole folder is known."""
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()


def remove_folder(folder: Path) -> None:
    """Removes a folder so that no reader ever sees a part of it. Gone already is fine."""
    aside = _aside_path(folder.parent)
    with suppress(FileNotFoundError):
        os.rename(folder, aside)
        shutil.rmtree(aside, ignore_errors=True)


def sweep_aside(parent: Path) -> None:
    """Removes what dead writers left aside in `parent`; never what a live one is writing."""
    for name in list_folder(parent):
        if name.startswith(ASIDE) and is_abandoned(parent / name):
            shutil.rmtree(parent / name, ignore_errors=True)


def is_abandoned(aside: Path) -> bool:
    """Whether the writer of what was left aside is dead: by its pid on this machine since it started, else by
    its age."""
    machine, _, pid = aside.name.removeprefix(ASIDE).rpartition("-")[0].rpartition("-")
    if machine == machine_id() and pid.isdigit():
        return not _is_alive(int(pid))
    try:
        return time.time() - aside.stat(follow_symlinks=False).st_mtime > _STALE_S
    except FileNotFoundError:
        return False


def list_folder(folder: Path) -> list[str]:
    """The names in a folder; none where it is not there."""
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def as_json(value: Mapping[str, object]) -> bytes:
    """Plain JSON, as bytes; refuses not-finite numbers with a ValueError."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _aside_path(parent: Path) -> Path:
    return parent / f"{ASIDE}{machine_id()}-{os.getpid()}-{uuid.uuid4().hex}"


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _describe_format(key: StorageKey | None) -> dict[str, object]:
    if key is None:
        return {"format": FORMAT}
    return {"format": ENCRYPTED_FORMAT, "cipher": CIPHER, "key": key.name}


def _read_manifest(folder: Path, expected: str | None) -> _Manifest:
    with _open_file(folder, MANIFEST) as file:
        content = file.read()
    if expected is not None and not _matches_digest(hashlib.sha256(content).hexdigest(), expected):
        raise _damage_error(folder, f"another {MANIFEST} than was recorded (SHA-256 differs)")
    try:
        document: _Manifest = json.loads(content)
        listed: dict[str, _FileEntry] = document["files"]
        formed = all(
            _is_plain_name(name) and {"sha256", "size"} <= entry.keys() for name, entry in listed.items()
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _damage_error(folder, f"a {MANIFEST} that cannot be read")
    if document.get("format") != (ENCRYPTED_FORMAT if "key" in document else FORMAT):
        found = f"format {document.get('format')!r}, where this version reads {FORMAT} and {ENCRYPTED_FORMAT}"
        raise _damage_error(folder, found)
    if not formed:
        raise _damage_error(folder, f"a {MANIFEST} with an entry that cannot be used")
    return document


def _matches_digest(digest: str, expected: str) -> bool:
    return len(expected) >= _LEAST_DIGITS and digest.startswith(expected)


class HashingFile:
    """A file whose bytes are hashed as they are read."""

    def __init__(self, file: FileIO) -> None:
        self._file, self.sha256 = file, hashlib.sha256()

    def read(self, count: int = -1) -> bytes:
        content = self._file.read(count)
        self.sha256.update(content)
        return content

    def readinto(self, buffer: Buffer) -> int:
        count = self._file.readinto(buffer)
        self.sha256.update(memoryview(buffer)[:count])
        return count

    def digest_of_all(self) -> str:
        while self.read(_PIECE_BYTES):
            pass
        return self.sha256.hexdigest()


def _read_verified(
    folder: Path, name: str, entry: _FileEntry, reader: Reader | None, key: StorageKey | None
) -> Any:
    with _open_file(folder, name) as opened:
        size, file, wrong = os.fstat(opened.fileno()).st_size, HashingFile(opened), None
        if size != entry["size"]:
            raise _damage_error(folder, f"{name} of {size} bytes, where {entry['size']} were written")
        try:
            plain = file if key is None else DecryptedFile(key, file, name)
            made = (
                plain.read() if reader is None else reader(plain, size if key is None else plain_size(size))
            )
        except ValueError as error:  # told only of bytes that are what was written
            wrong = error
        if file.digest_of_all() != entry["sha256"]:
            raise _damage_error(folder, f"{name} with other bytes than were written (SHA-256 differs)")
    if wrong is not None:
        raise _damage_error(folder, f"{name} that cannot be read: {wrong}") from wrong
    return made


def _open_file(folder: Path, name: str) -> FileIO:
    try:
        descriptor = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        if folder.is_dir():
            raise _damage_error(folder, f"no {name}")
        raise MissingFolder(
            f"{folder} must hold what was written to it", "no such folder", "fetch or make it again"
        )
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _damage_error(folder, f"{name}, a link")
        raise
    return os.fdopen(descriptor, "rb", buffering=0)


def _damage_error(folder: Path, found: str) -> DamagedFolder:
    return DamagedFolder(f"{folder} must hold what was written to it", found, "fetch or make it again")


def _write_file(path: Path, content: Content, key: StorageKey | None = None) -> _FileEntry:
    """Writes a file durably; returns what the manifest says of it."""
    sha256, size = hashlib.sha256(), 0
    pieces: Iterable[Buffer] = (content,) if isinstance(content, bytes) else content
    pieces = pieces if key is None else key.encrypt(path.name, pieces)
    with open(path, "xb") as file:
        for piece in pieces:
            file.write(piece)
            sha256.update(piece)
            size += memoryview(piece).nbytes
        file.flush()
        os.fsync(file.fileno())
    return {"sha256": sha256.hexdigest(), "size": size}


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_plain_name(name: object) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..", MANIFEST) and not set(name) & set("/\\\0")
