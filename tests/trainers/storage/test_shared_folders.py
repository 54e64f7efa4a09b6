"""Folders that are built once: by whom, what is checked of them, and what a dead builder leaves."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
import zlib
from pathlib import Path

import pytest

from trainers.storage import shared_folders
from trainers.storage.shared_folders import MANIFEST, FolderBusy, is_whole, lock_file, shared_folder


class Builder:
    """Fills folders and counts how often it was asked to."""

    def __init__(self, wait_s: float = 0.0) -> None:
        self.built, self._wait_s = 0, wait_s

    def __call__(self, folder: Path) -> None:
        assert list(folder.iterdir()) == []
        self.built += 1
        time.sleep(self._wait_s)
        (folder / "a.bin").write_bytes(b"a" * 100)
        (folder / "b.bin").write_bytes(b"b" * 100)


def harm_file(folder: Path) -> None:
    (folder / "b.bin").write_bytes(b"x" * 100)  # as long as before


def cut_file(folder: Path) -> None:
    (folder / "b.bin").write_bytes(b"b" * 99)


def remove_file(folder: Path) -> None:
    (folder / "b.bin").unlink()


def remove_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def garble_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text('{"a.bin": 1}')


def test_shared_folder_is_built_once_and_holds_what_was_written(tmp_path: Path) -> None:
    build = Builder()
    for _ in range(3):
        assert shared_folder(tmp_path / "deep" / "data", build) == tmp_path / "deep" / "data"
    assert build.built == 1
    assert (tmp_path / "deep" / "data" / "b.bin").read_bytes() == b"b" * 100
    assert is_whole(tmp_path / "deep" / "data")
    assert not is_whole(tmp_path / "nowhere")
    assert [p.name for p in (tmp_path / "deep").iterdir() if p.name.endswith(".aside")] == []


@pytest.mark.parametrize("harm", [harm_file, cut_file, remove_file, remove_manifest, garble_manifest])
def test_shared_folder_that_is_not_whole_is_built_anew(tmp_path: Path, harm: object) -> None:
    build, folder = Builder(), tmp_path / "data"
    shared_folder(folder, build)
    harm(folder)  # type: ignore[operator]
    assert not is_whole(folder)
    shared_folder(folder, build)
    assert build.built == 2
    assert is_whole(folder)


def test_large_shared_folder_is_checked_by_sizes_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_folders, "CHECKED_BYTES", 199)
    folder = shared_folder(tmp_path / "data", Builder())
    harm_file(folder)
    assert is_whole(folder)
    cut_file(folder)
    assert not is_whole(folder)
    monkeypatch.setattr(shared_folders, "CHECKED_BYTES", 200)
    folder = shared_folder(tmp_path / "small", Builder())
    harm_file(folder)
    assert not is_whole(folder)


def test_files_and_manifest_reach_the_disk_before_the_folder_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    fsync, rename = os.fsync, os.rename

    def note_sync(descriptor: int) -> None:
        done.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    def note_rename(source: Path, target: Path) -> None:
        done.append("named")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "rename", note_rename)
    shared_folder(tmp_path / "data", Builder())
    assert done == ["a.bin", "b.bin", MANIFEST, "named"]


def test_builder_that_fails_leaves_nothing_and_the_next_one_builds(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise RuntimeError("told to")

    with pytest.raises(RuntimeError):
        shared_folder(tmp_path / "data", fail)
    assert [path.name for path in tmp_path.iterdir()] == [".data.lock"]
    left = tmp_path / ".data.0123abcd.aside"  # as one that was killed leaves it
    left.mkdir()
    shared_folder(tmp_path / "data", Builder())
    assert not left.exists()


def test_two_that_ask_at_once_wait_for_one_build(tmp_path: Path) -> None:
    build = Builder(wait_s=0.3)
    asked = [threading.Thread(target=shared_folder, args=(tmp_path / "data", build)) for _ in range(3)]
    for thread in asked:
        thread.start()
    for thread in asked:
        thread.join(30)
    assert build.built == 1
    assert is_whole(tmp_path / "data")


def test_lock_that_stays_held_is_said_after_its_time(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with lock_file(path, 0.0), pytest.raises(FolderBusy, match=r"within 0\.1 s"), lock_file(path, 0.1):
        pytest.fail("two hold it")
    with lock_file(path, 0.0):
        pass


def test_remains_that_cannot_be_emptied_keep_nobody_from_building(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS, where a file that is open elsewhere stays."""
    left = tmp_path / ".data.0123abcd.aside"
    left.mkdir()
    rmdir = os.rmdir

    def busy(path: str, **where: int) -> None:
        if Path(path).name == left.name:
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
        rmdir(path, **where)

    monkeypatch.setattr(os, "rmdir", busy)
    assert is_whole(shared_folder(tmp_path / "data", Builder()))
    assert left.exists()


def test_folder_is_not_built_by_one_who_comes_late_or_finds_it_whole(tmp_path: Path) -> None:
    folder = shared_folder(tmp_path / "data", Builder())
    late = Builder()
    with lock_file(tmp_path / ".data.lock", 0.0):  # who finds it whole asks for no lock
        assert shared_folder(folder, late, wait_s=0.0) == folder
    assert late.built == 0
    cut_file(folder)
    with lock_file(tmp_path / ".data.lock", 0.0), pytest.raises(FolderBusy):
        shared_folder(folder, late, wait_s=0.0)


@pytest.mark.parametrize("size_bytes", [0, 1, (1 << 20) + 3])
def test_checksum_is_that_of_the_whole_file(tmp_path: Path, size_bytes: int) -> None:
    content = bytes(range(256)) * (size_bytes // 256 + 1)

    def build(folder: Path) -> None:
        (folder / "a.bin").write_bytes(content[:size_bytes])
        (folder / "within").mkdir()  # a folder is none of the files

    folder = shared_folder(tmp_path / "data", build)
    assert json.loads((folder / MANIFEST).read_text()) == {
        "a.bin": {"size": size_bytes, "crc32": zlib.crc32(content[:size_bytes])}
    }
