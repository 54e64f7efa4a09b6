"""A storage in a bucket as commands and lanes see it: a folder of this machine that mirrors it.

Everything is written to the folder as to any other storage, and then published; what may have been written
elsewhere is fetched before it is read. Whatever is not below such a folder is left as it is, so callers need
not know which kind of storage they have.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from infra.bucket import Bucket, StoredObject
from trainers.storage.atomic_folders import ASIDE, MANIFEST
from trainers.storage.machine import machine_id

MIRRORS = "mirror"  # of a home
MARK = ".velodrome-bucket"  # in the folder: the address that it mirrors
_SAME_S = 0.002  # file systems round times


@dataclass(frozen=True, slots=True)
class Mirror:
    """A folder and the bucket that it mirrors."""

    root: Path
    bucket: Bucket

    def locate(self, path: Path) -> str:
        """The path as the bucket names it."""
        return path.relative_to(self.root).as_posix()


def attach(root: Path, url: str) -> Path:
    """Makes a folder the mirror of a bucket's place; returns it."""
    mark = root / MARK
    if not mark.is_file() or mark.read_text() != url:
        root.mkdir(parents=True, exist_ok=True)
        aside = root / f"{MARK}-{uuid.uuid4().hex}"
        aside.write_text(url)
        aside.replace(mark)
    return root


def mirror_folder(home: Path, url: str) -> Path:
    """Where a bucket's place is mirrored below a home."""
    return home / MIRRORS / hashlib.sha256(url.encode()).hexdigest()[:12]


def find_mirror(path: Path) -> Mirror | None:
    """The mirror that a path lies in; None where it lies in none."""
    for folder in (path, *path.parents):
        mark = folder / MARK
        if mark.is_file():
            return Mirror(folder, Bucket(mark.read_text()))
    return None


def publish(path: Path) -> None:
    """Writes a file, or the files of a folder, to the bucket where that has others; manifests come last.

    Raises:
        StorageUnavailable: the bucket did not take one.
    """
    mirror = find_mirror(path)
    if mirror is None or not path.exists():
        return
    base = mirror.locate(path)
    look = mirror.bucket.find_object if path.is_file() else mirror.bucket.list_objects
    known = {stored.name: stored for stored in look(base)}
    changed = [file for file in _files_of(path) if not _is_same(file, known.get(_name_below(path, file)))]
    for file in sorted(changed, key=lambda file: (file.name == MANIFEST, file)):
        with suppress(FileNotFoundError):  # a file that its writer has taken away meanwhile
            mirror.bucket.upload(file, mirror.locate(file))
    if changed:  # times as the bucket has them: by these the next look knows what is the same
        names = {_name_below(path, file): file for file in changed}
        for stored in look(base):
            if stored.name in names:
                _set_time(names[stored.name], stored)


def fetch(path: Path, *, exact: bool = False) -> None:
    """Brings a folder's files here as the bucket has them; what is newer here stays.

    Args:
        exact: what is newer here, or not in the bucket, goes: only what was published counts.

    Raises:
        StorageUnavailable: the bucket did not give one.
    """
    mirror = find_mirror(path)
    if mirror is None:
        return
    stored = mirror.bucket.list_objects(mirror.locate(path))
    for entry in stored:
        _bring(mirror, path / entry.name, entry, exact=exact)
    if exact:
        names = {entry.name for entry in stored}
        for file in list(_files_of(path)):
            if _name_below(path, file) not in names:
                file.unlink(missing_ok=True)
        _remove_empty_folders(path)


def fetch_file(path: Path) -> None:
    """Brings a file here as the bucket has it, unless it is newer here.

    Raises:
        StorageUnavailable: the bucket did not give it.
    """
    mirror = find_mirror(path)
    for entry in mirror.bucket.find_object(mirror.locate(path)) if mirror else ():
        assert mirror is not None
        _bring(mirror, path, entry, exact=False)


def discard(path: Path) -> None:
    """Removes from the bucket what lies there below this folder. Gone already is fine.

    Raises:
        StorageUnavailable: the bucket refused.
    """
    mirror = find_mirror(path)
    if mirror is not None:
        mirror.bucket.delete_below(mirror.locate(path))


def list_stored(path: Path) -> list[StoredObject] | None:
    """What the bucket has below this folder; None where that lies in no mirror."""
    mirror = find_mirror(path)
    return None if mirror is None else mirror.bucket.list_objects(mirror.locate(path))


def stored_bytes(path: Path) -> int:
    """How much that is; 0 where the path lies in no mirror."""
    return sum(entry.size_bytes for entry in list_stored(path) or ())


def check_writable(root: Path) -> None:
    """Writes an object and takes it away again, where the folder is a mirror.

    Raises:
        StorageUnavailable: the bucket refused.
    """
    mirror = find_mirror(root)
    if mirror is None:
        return
    probe = root / f".probe-{uuid.uuid4().hex[:12]}"
    try:
        probe.write_text("")
        publish(probe)
        mirror.bucket.delete(probe.name)
    finally:
        probe.unlink(missing_ok=True)


def _bring(mirror: Mirror, file: Path, stored: StoredObject, *, exact: bool) -> None:
    if _is_same(file, stored) or not (exact or _is_older(file, stored)):
        return
    with suppress(FileNotFoundError):  # removed by another meanwhile
        _download(mirror, file, stored)


def _download(mirror: Mirror, file: Path, stored: StoredObject) -> None:
    incoming = mirror.root / f"{ASIDE}{machine_id()}-{os.getpid()}-{uuid.uuid4().hex}"
    try:
        mirror.bucket.download(mirror.locate(file), incoming)
        _set_time(incoming, stored)
        file.parent.mkdir(parents=True, exist_ok=True)
        incoming.replace(file)
    finally:
        incoming.unlink(missing_ok=True)


def _files_of(path: Path) -> Iterator[Path]:
    """The path itself where it is a file, else the files in it; neither links nor what is written aside."""
    if path.is_file() and not path.is_symlink():
        yield path
    for place, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(ASIDE)]
        yield from (file for name in names if not (file := Path(place, name)).is_symlink())


def _name_below(path: Path, file: Path) -> str:
    return "" if file == path else file.relative_to(path).as_posix()


def _is_same(file: Path, stored: StoredObject | None) -> bool:
    if stored is None:
        return False
    try:
        found = file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return found.st_size == stored.size_bytes and abs(found.st_mtime - stored.written_at) < _SAME_S


def _is_older(file: Path, stored: StoredObject) -> bool:
    return not file.exists() or file.stat().st_mtime < stored.written_at


def _set_time(file: Path, stored: StoredObject) -> None:
    with suppress(FileNotFoundError):
        os.utime(file, (stored.written_at, stored.written_at))


def _remove_empty_folders(path: Path) -> None:
    for place, folders, names in os.walk(path, topdown=False):
        if not folders or not names:
            with suppress(OSError):  # something is in it
                os.rmdir(place)
