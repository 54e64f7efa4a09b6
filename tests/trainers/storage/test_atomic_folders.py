"""Sealed folders: nothing half-written stays, whoever died, and a known hash is never taken for shorter."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from trainers.storage import atomic_folders as folders


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        folders.write_folder(tmp_path / "a", {"file": b"1"})
    assert list(tmp_path.iterdir()) == []


def test_what_a_dead_writer_left_aside_goes_with_the_next_write(tmp_path: Path) -> None:
    host = socket.gethostname()
    dead = tmp_path / f"{folders.ASIDE}{host}-{2**22 + 1}-{'0' * 32}"  # above Linux's largest process id
    live = tmp_path / f"{folders.ASIDE}{host}-{os.getppid()}-{'0' * 32}"
    dead.mkdir()
    live.mkdir()
    folders.write_folder(tmp_path / "a", {"file": b"1"})
    assert sorted(path.name for path in tmp_path.iterdir()) == [live.name, "a"]


@pytest.mark.parametrize("known", ["", "0" * 64, "short"])
def test_a_manifest_is_known_by_sixteen_digits_at_least(tmp_path: Path, known: str) -> None:
    folder = folders.write_folder(tmp_path / "a", {"file": b"1"})
    digest = folders.manifest_hash(folder)
    assert folders.read_folder(folder, manifest_sha256=digest[:16]) == {"file": b"1"}
    with pytest.raises(folders.DamagedFolder, match="another manifest"):
        folders.read_folder(folder, manifest_sha256=digest[:15] if known == "short" else known)


def test_a_folder_that_is_not_there_is_gone(tmp_path: Path) -> None:
    with pytest.raises(folders.MissingFolder, match="no such folder"):
        folders.read_folder(tmp_path / "none")
