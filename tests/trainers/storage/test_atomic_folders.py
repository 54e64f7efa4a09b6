"""Sealed folders: nothing half-written stays, whoever died, and a known hash is never taken for shorter."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from trainers.storage import atomic_folders


def test_folder_write_on_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        atomic_folders.write_folder(tmp_path / "a", {"file": b"1"})
    assert list(tmp_path.iterdir()) == []


def test_files_and_folder_reach_the_disk_before_the_folder_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the name after it: a machine that loses its power has the whole folder, or none."""
    done: list[str] = []
    fsync, rename = os.fsync, os.rename

    def note_sync(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        done.append("aside" if path.name.startswith(atomic_folders.ASIDE) else path.name)
        fsync(descriptor)

    def note_rename(source: Path, target: Path) -> None:
        done.append("named")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "rename", note_rename)
    atomic_folders.write_folder(tmp_path / "a", {"file": b"1", "other": b"2"})
    assert done == ["file", "other", atomic_folders.MANIFEST, "aside", "named", tmp_path.name]


def test_unfinished_folder_of_a_dead_writer_is_removed_by_the_next(tmp_path: Path) -> None:
    host = socket.gethostname()
    dead = (
        tmp_path / f"{atomic_folders.ASIDE}{host}-{2**22 + 1}-{'0' * 32}"
    )  # above Linux's largest process id
    live = tmp_path / f"{atomic_folders.ASIDE}{host}-{os.getppid()}-{'0' * 32}"
    dead.mkdir()
    live.mkdir()
    atomic_folders.write_folder(tmp_path / "a", {"file": b"1"})
    assert sorted(path.name for path in tmp_path.iterdir()) == [live.name, "a"]


@pytest.mark.parametrize("known", ["", "0" * 64, "short"])
def test_manifest_hash_prefix_needs_sixteen_digits(tmp_path: Path, known: str) -> None:
    folder = atomic_folders.write_folder(tmp_path / "a", {"file": b"1"})
    digest = atomic_folders.manifest_hash(folder)
    assert atomic_folders.read_folder(folder, manifest_sha256=digest[:16]) == {"file": b"1"}
    with pytest.raises(atomic_folders.DamagedFolder, match="another manifest"):
        atomic_folders.read_folder(folder, manifest_sha256=digest[:15] if known == "short" else known)


def test_missing_folder_is_reported_as_gone(tmp_path: Path) -> None:
    with pytest.raises(atomic_folders.MissingFolder, match="no such folder"):
        atomic_folders.read_folder(tmp_path / "none")
