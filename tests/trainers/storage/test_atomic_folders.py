"""Sealed folders: nothing half-written stays, whoever died, and a known hash is never taken for shorter."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainers.storage import atomic_folders
from trainers.storage.machine import machine_id

NO_PID = 2**22 + 1  # above what Linux gives


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
    sizes: dict[str, int] = {}
    fsync, rename = os.fsync, os.rename

    def note_sync(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        done.append("aside" if path.name.startswith(atomic_folders.ASIDE) else path.name)
        if path.is_file():
            sizes[path.name] = os.fstat(descriptor).st_size
        fsync(descriptor)

    def note_rename(source: Path, target: Path) -> None:
        done.append("named")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(os, "rename", note_rename)
    atomic_folders.write_folder(tmp_path / "a", {"file": b"1", "other": b"2"})
    assert done == ["file", "other", atomic_folders.MANIFEST, "aside", "named", tmp_path.name]
    assert sizes == {path.name: path.stat().st_size for path in (tmp_path / "a").iterdir()}  # all of it


def test_unfinished_folder_of_a_dead_writer_is_removed_by_the_next(tmp_path: Path) -> None:
    dead, live = (left_aside(tmp_path, machine_id(), pid) for pid in (NO_PID, os.getppid()))
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


def left_aside(parent: Path, host: str = "elsewhere", pid: int = 1) -> Path:
    return parent / f"{atomic_folders.ASIDE}{host}-{pid}-{'0' * 32}"


@pytest.fixture
def hung_up() -> Iterator[list[int]]:
    """The signals of a closed terminal that reach this process."""
    got: list[int] = []
    former = signal.signal(signal.SIGHUP, lambda number, _: got.append(number))
    yield got
    signal.signal(signal.SIGHUP, former)


def test_writer_that_lives_is_asked_for_and_not_disturbed(tmp_path: Path, hung_up: list[int]) -> None:
    assert not atomic_folders.is_abandoned(left_aside(tmp_path, machine_id(), os.getpid()))
    assert hung_up == []


def test_writer_of_another_user_lives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbid(*_: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", forbid)
    assert not atomic_folders.is_abandoned(left_aside(tmp_path, machine_id()))


def test_writer_of_another_machine_of_the_same_name_is_not_looked_for_here(tmp_path: Path) -> None:
    """Cloned machines share a name, and a folder: a pid that is free here lives there."""
    aside = left_aside(tmp_path, socket.gethostname(), pid=NO_PID)
    aside.mkdir()
    assert not atomic_folders.is_abandoned(aside)
    assert atomic_folders.is_abandoned(left_aside(tmp_path, machine_id(), pid=NO_PID))


def test_folder_that_another_host_left_is_abandoned_after_a_day_by_its_own_age(tmp_path: Path) -> None:
    """A link too, wherever it leads: nothing of what it names is asked."""
    for pid, age_s in ((1, 23 * 3600), (2, 25 * 3600)):
        link = left_aside(tmp_path, pid=pid)
        link.symlink_to(tmp_path / "nowhere")
        os.utime(link, (time.time() - age_s,) * 2, follow_symlinks=False)
    assert [atomic_folders.is_abandoned(left_aside(tmp_path, pid=pid)) for pid in (1, 2, 3)] == [
        False,
        True,
        False,  # gone meanwhile: there is nothing to remove
    ]


def test_folder_is_written_below_folders_that_are_not_there(tmp_path: Path) -> None:
    folder = atomic_folders.write_folder(tmp_path / "deep" / "er" / "a", {"file": b"1"})
    assert atomic_folders.read_folder(folder) == {"file": b"1"}


def test_error_of_a_writer_is_told_though_nothing_is_left_to_remove(tmp_path: Path) -> None:
    def lose(_: bytes) -> str:
        (aside,) = tmp_path.iterdir()
        aside.rename(tmp_path.with_name("taken"))
        raise KeyError("no name")

    with pytest.raises(KeyError, match="no name"):
        atomic_folders.seal_folder(tmp_path, {"file": b"1"}, lose)


def test_folder_that_cannot_be_emptied_is_gone_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS, where a file that is open elsewhere stays."""

    def busy(*_: object, **__: object) -> None:
        raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))

    folder = atomic_folders.write_folder(tmp_path / "a", {"file": b"1"})
    old = left_aside(tmp_path)
    old.mkdir()
    os.utime(old, (0, 0))
    monkeypatch.setattr(os, "rmdir", busy)
    atomic_folders.remove_folder(folder)
    atomic_folders.sweep_aside(tmp_path)
    assert not folder.exists()


def test_folder_that_an_earlier_version_wrote_is_read(tmp_path: Path) -> None:
    """Its format's number is what all versions go by."""
    (tmp_path / "file").write_bytes(b"1")
    told = {"size": 1, "sha256": hashlib.sha256(b"1").hexdigest()}
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 1, "files": {"file": told}}))
    assert atomic_folders.read_folder(tmp_path) == {"file": b"1"}
    written = atomic_folders.write_folder(tmp_path / "a", {"file": b"1"})
    assert json.loads((written / "manifest.json").read_text())["format"] == 1


def test_folder_with_mlflow_s_own_file_is_whole_and_with_any_other_is_damaged(tmp_path: Path) -> None:
    folder = atomic_folders.write_folder(tmp_path / "a", {"file": b"1"})
    (folder / "registered_model_meta").touch()
    assert atomic_folders.read_folder(folder) == {"file": b"1"}
    (folder / "other").touch()
    with pytest.raises(atomic_folders.DamagedFolder, match="'other', which the manifest does not name"):
        atomic_folders.read_folder(folder)


def test_file_that_became_a_link_is_damage_and_one_that_cannot_be_read_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = atomic_folders.write_folder(tmp_path / "a", {"file": b"1"})
    (folder / "file").rename(tmp_path / "file")
    (folder / "file").symlink_to(tmp_path / "file")
    with pytest.raises(atomic_folders.DamagedFolder, match="file, a link"):
        atomic_folders.read_folder(folder)

    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError):
        atomic_folders.read_folder(folder)


def test_manifest_is_plain_utf_8_and_holds_no_number_that_json_has_not() -> None:
    assert atomic_folders.as_json({"é": 1, "b": [None]}) == '{"é":1,"b":[null]}'.encode()
    with pytest.raises(ValueError, match="JSON"):
        atomic_folders.as_json({"a": float("nan")})


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ({"format": 3, "files": {}}, "format 3, where this version reads 1 and 2"),
        ({"format": 2, "files": {}}, "format 2"),
        ({"format": 1, "files": {}, "key": "x"}, "format 1"),
        ({"format": 1, "files": {"a": {"size": 1}}}, "an entry that cannot be used"),
        ({"format": 1, "files": {"../a": {"size": 1, "sha256": ""}}}, "an entry that cannot be used"),
        ({"format": 1}, "cannot be read"),
        ([], "cannot be read"),
    ],
)
def test_manifest_that_this_version_cannot_use_is_damage(tmp_path: Path, manifest: object, said: str) -> None:
    folder = atomic_folders.write_folder(tmp_path / "a", {"file": b"1"})
    (folder / atomic_folders.MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(atomic_folders.DamagedFolder, match=said):
        atomic_folders.read_folder(folder)


def test_file_of_another_size_or_that_a_reader_cannot_use_is_damage(tmp_path: Path) -> None:
    folder = atomic_folders.write_folder(tmp_path / "a", {"file": b"1234"})

    def read_two(file: atomic_folders.HashingFile, size: int) -> bytes:
        assert size == 4
        return file.read(2)

    def refuse(*_: object) -> None:
        raise ValueError("no such thing")

    assert atomic_folders.read_folder(folder, readers={"file": read_two}) == {"file": b"12"}
    with pytest.raises(atomic_folders.DamagedFolder, match="file that cannot be read: no such thing"):
        atomic_folders.read_folder(folder, readers={"file": refuse})
    (folder / "file").write_bytes(b"12345")
    with pytest.raises(atomic_folders.DamagedFolder, match="5 bytes, where 4 were written"):
        atomic_folders.read_folder(folder)
    (folder / "file").write_bytes(b"1235")
    with pytest.raises(atomic_folders.DamagedFolder, match="SHA-256 differs"):
        atomic_folders.read_folder(folder, readers={"file": refuse})  # what is wrong with it comes first
    (folder / "file").unlink()
    with pytest.raises(atomic_folders.DamagedFolder, match="no file"):
        atomic_folders.read_folder(folder)


def test_writing_and_reading_leave_no_file_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for name in "abcd":
        atomic_folders.read_folder(atomic_folders.write_folder(tmp_path / name, {"file": b"1"}))
    assert len(os.listdir("/proc/self/fd")) == before
