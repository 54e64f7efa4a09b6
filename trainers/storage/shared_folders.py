"""Folders that are built once and then shared: written aside under a lock, renamed, checked by a manifest."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
import uuid
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from trainers.errors import TrainerError

MANIFEST = "manifest.json"
WAIT_S = 1800.0
CHECKED_BYTES = 64 << 20  # larger folders are checked by their files' sizes alone
READ_BYTES = 1 << 20


class FolderBusy(TrainerError):
    """Another process builds the same folder and did not finish within the limit."""


def shared_folder(folder: Path, build: Callable[[Path], None], *, wait_s: float = WAIT_S) -> Path:
    """The folder, built by exactly one of the processes that ask for it.

    A process that dies while building leaves nothing behind: the kernel frees its lock and the next one
    removes what it wrote aside. A folder whose files are not those of its manifest is built anew.

    Args:
        folder: where it stands when it is complete.
        build: fills an empty folder.
        wait_s: how long to wait for another process that builds it.
    """
    if is_whole(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with lock_file(folder.with_name(f".{folder.name}.lock"), wait_s):
        if is_whole(folder):
            return folder
        _remove_remains(folder)
        aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.aside")
        aside.mkdir()
        try:
            build(aside)
            write_manifest(aside)
            os.rename(aside, folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    return folder


def _remove_remains(folder: Path) -> None:
    """Whatever a dead process or damage left; lanes that still map the old files keep their pages."""
    for remains in folder.parent.glob(f".{folder.name}.*.aside"):
        shutil.rmtree(remains, ignore_errors=True)
    if folder.exists():
        shutil.rmtree(folder)


@contextmanager
def lock_file(path: Path, wait_s: float) -> Iterator[None]:
    """Holds an exclusive lock on the file, which is freed when the process ends, however it ends.

    Raises:
        FolderBusy: another process held it for `wait_s` seconds.
    """
    until = time.monotonic() + wait_s
    with path.open("a") as handle:
        while not _try_lock(handle.fileno()):
            if time.monotonic() > until:
                raise FolderBusy(
                    f"the lock {path} must become free within {wait_s:g} s",
                    "another process that still holds it",
                    "wait for it, or end it",
                )
            time.sleep(0.02)
        yield


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_manifest(folder: Path) -> None:
    """Names, sizes and, for what is small, checksums of the files, which reach the disk first."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    for path in files:
        _sync_path(path)
    sizes = {path.name: path.stat().st_size for path in files}
    entries = {path.name: {"size": sizes[path.name], "crc32": _checksum(path, sizes)} for path in files}
    (folder / MANIFEST).write_text(json.dumps(entries))
    _sync_path(folder / MANIFEST)


def is_whole(folder: Path) -> bool:
    """Whether the folder holds what its manifest says."""
    try:
        entries = json.loads((folder / MANIFEST).read_text())
        sizes = {name: (folder / name).stat().st_size for name in entries}
        return all(
            sizes[name] == entry["size"] and _checksum(folder / name, sizes) == entry["crc32"]
            for name, entry in entries.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _checksum(path: Path, sizes: dict[str, int]) -> int | None:
    if sum(sizes.values()) > CHECKED_BYTES:
        return None
    found = 0
    with path.open("rb") as file:
        while piece := file.read(READ_BYTES):
            found = zlib.crc32(piece, found)
    return found


def _sync_path(path: Path) -> None:
    with path.open("rb") as handle:
        os.fsync(handle.fileno())
