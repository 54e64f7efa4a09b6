"""Folders that are whole or not there: written aside, fsynced, renamed, and checked by SHA-256 when read.

Beside its files such a folder holds `manifest.json` with the size and the SHA-256 of each. Readers use the
bytes that were checked, and a file that the manifest does not name makes the folder damaged.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trainers.errors import InputError

FORMAT = 1
MANIFEST = "manifest.json"


class Damaged(InputError):
    """A folder that is not what was written: something is missing, changed or added."""


def write_folder(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Writes the folder; afterwards it is there whole, or not at all.

    Args:
        folder: where it shall stand; must not exist.
        files: plain file name → bytes.

    Raises:
        OSError: the file system refused, or the folder exists; what was written is removed again.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = folder.parent / f".aside-{os.getpid()}-{uuid.uuid4().hex}"
    manifest = {"format": FORMAT, "files": {name: _entry(content) for name, content in files.items()}}
    try:
        aside.mkdir()
        for name, content in (*files.items(), (MANIFEST, as_json(manifest))):
            _write(aside / name, content)
        os.rename(aside, folder)
    except BaseException:  # whatever stopped it, a half-written folder must not stay
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return folder


def read_folder(folder: Path, *, manifest_sha256: str | None = None) -> dict[str, bytes]:
    """The files of a folder by name, exactly as they were written.

    Args:
        manifest_sha256: what the manifest itself must hash to, where that is known from elsewhere.

    Raises:
        Damaged: names the file and what is wrong with it.
        OSError: the file system refused.
    """
    listed = _manifest(folder, manifest_sha256)
    added = {name for name in os.listdir(folder) if name not in FOREIGN} - listed.keys() - {MANIFEST}
    if added:
        raise _damaged(folder, f"{min(added)!r}, which the manifest does not name")
    return {name: _verified(folder, name, entry) for name, entry in listed.items()}


# MLflow writes this into a model's folder when it is loaded by its registered name.
FOREIGN = frozenset({"registered_model_meta"})


def manifest_hash(folder: Path) -> str:
    """SHA-256 of the manifest: with it the whole folder is known."""
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()


def as_json(value: Any) -> bytes:
    """Plain JSON, as bytes; refuses not-finite numbers with a ValueError."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _manifest(folder: Path, expected: str | None) -> dict[str, dict[str, Any]]:
    content = _read(folder, MANIFEST)
    if expected is not None and hashlib.sha256(content).hexdigest() != expected:
        raise _damaged(folder, "another manifest than was recorded (SHA-256 differs)")
    try:
        document = json.loads(content)
        listed: dict[str, dict[str, Any]] = document["files"]
        formed = all(_plain(name) and {"sha256", "size"} <= entry.keys() for name, entry in listed.items())
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
    path = folder / name
    if path.is_symlink():
        raise _damaged(folder, f"{name}, a link")
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise _damaged(folder, f"no {name}" if folder.is_dir() else "no such folder")


def _damaged(folder: Path, found: str) -> Damaged:
    return Damaged(f"{folder} must hold what was written to it", found, "fetch or make it again")


def _entry(content: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}


def _write(path: Path, content: bytes) -> None:
    with open(path, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _plain(name: object) -> bool:
    return isinstance(name, str) and name not in ("", ".", "..", MANIFEST) and not set(name) & set("/\\\0")
