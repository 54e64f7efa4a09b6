"""A storage in a bucket, by the folder that mirrors it."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from infra import bucket
from infra.bucket import Bucket
from infra.errors import StorageUnavailable, WrongInput
from infra.home import Home, storage_place
from infra.mirror import check_writable, discard, fetch, fetch_file, publish, stored_bytes
from infra.storage.checkpoints import CheckpointStore
from tests.infra.object_store import ObjectStore, running_store

URL = "s3://models/team/a"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    monkeypatch.setattr(bucket, "ATTEMPTS", 2)
    monkeypatch.setattr(bucket, "PAUSES_S", (0.0, 0.0))
    with running_store(monkeypatch) as made:
        yield made


def machine(tmp_path: Path, name: str) -> Path:
    """The storage as a machine with a home of its own has it."""
    return storage_place(Home(tmp_path / name), URL)


def save(store: CheckpointStore, step: int) -> Path:
    return store.save({"w": torch.full((2,), float(step))}, {"step": step})


def test_files_published_here_are_fetched_there_as_they_were(store: ObjectStore, tmp_path: Path) -> None:
    here, there = machine(tmp_path, "a"), machine(tmp_path, "b")
    (here / "s" / "deep").mkdir(parents=True)
    (here / "s" / "one").write_bytes(b"1" * 3_000_000)
    (here / "s" / "deep" / "näme +&.txt").write_text("two")
    publish(here / "s")
    fetch(there / "s")
    assert (there / "s" / "one").read_bytes() == b"1" * 3_000_000
    assert (there / "s" / "deep" / "näme +&.txt").read_text() == "two"
    assert stored_bytes(there / "s") == 3_000_003
    before = len(store.requests)
    publish(here / "s")
    fetch(there / "s")
    assert {method for method, _ in store.requests[before:]} <= {"GET", "HEAD"}
    assert not [path for method, path in store.requests[before:] if method == "GET" and path != "models"]


def test_manifest_is_the_last_object_of_a_folder_to_be_written(store: ObjectStore, tmp_path: Path) -> None:
    save(CheckpointStore(machine(tmp_path, "a") / "s" / "checkpoints"), 1)
    written = [path for method, path in store.requests if method in {"PUT", "POST"}]
    first = next(place for place, path in enumerate(written) if path.endswith("manifest.json"))
    assert {path.rpartition("/")[2] for path in written[:first]} == {"document.json", "tensors.safetensors"}
    assert all(path.endswith("manifest.json") for path in written[first:])


def test_attempt_on_another_machine_goes_on_from_the_newest_checkpoint(
    store: ObjectStore, tmp_path: Path
) -> None:
    here = CheckpointStore(machine(tmp_path, "a") / "s" / "checkpoints")
    there = CheckpointStore(machine(tmp_path, "b") / "s" / "checkpoints")
    save(here, 1)
    assert (loaded := there.load()) is not None
    assert loaded.document == {"step": 1}
    save(there, 2)
    assert (again := here.load()) is not None
    assert again.document == {"step": 2}
    assert torch.equal(again.tensors["w"], torch.full((2,), 2.0))
    assert len(store.names("team/a/s/checkpoints")) == 3  # of one checkpoint: the former went
    here.delete()
    assert not store.names()
    assert there.load() is None


def test_checkpoint_of_a_former_sweep_here_does_not_count(store: ObjectStore, tmp_path: Path) -> None:
    here, there = machine(tmp_path, "a"), machine(tmp_path, "b")
    save(CheckpointStore(here / "s" / "checkpoints"), 1)
    discard(there / "s")  # `velodrome remove` on another machine
    assert CheckpointStore(here / "s" / "checkpoints").load() is None


@pytest.mark.parametrize("half", [b"", b"half an object"])
def test_damaged_object_leaves_the_checkpoint_before_it(
    store: ObjectStore, tmp_path: Path, half: bytes
) -> None:
    here = CheckpointStore(machine(tmp_path, "a") / "s" / "checkpoints", keep=2)
    save(here, 1)
    newest = save(here, 2)
    name = f"models/team/a/s/checkpoints/{newest.name}/tensors.safetensors"
    store.objects[name] = (half, store.objects[name][1])
    loaded = CheckpointStore(machine(tmp_path, "b") / "s" / "checkpoints", keep=2).load()
    assert loaded is not None
    assert loaded.document == {"step": 1}
    assert "tensors.safetensors" in loaded.damaged[0]


@pytest.mark.parametrize(
    ("status", "code", "do"),
    [
        (503, "SlowDown", "tried 8 times"),
        (500, "InternalError", "tried 8 times"),
        (403, "ExpiredToken", "renew the credentials"),
        (403, "AccessDenied", "renew the credentials"),
    ],
)
def test_store_that_refuses_is_storage_unavailable_and_the_former_checkpoint_stays(
    store: ObjectStore, tmp_path: Path, status: int, code: str, do: str
) -> None:
    here = CheckpointStore(machine(tmp_path, "a") / "s" / "checkpoints")
    save(here, 1)
    store.fault = lambda method, path: (status, code) if method in {"PUT", "POST"} else None
    with pytest.raises(StorageUnavailable, match="s3://models/team/a must take") as raised:
        save(here, 2)
    assert do in raised.value.do
    loaded = CheckpointStore(machine(tmp_path, "b") / "s" / "checkpoints").load()
    assert loaded is not None
    assert loaded.document == {"step": 1}
    store.fault = lambda method, path: None
    save(here, 3)
    assert len(store.names()) == 3


def test_request_that_fails_once_is_made_again(store: ObjectStore, tmp_path: Path) -> None:
    failed: set[str] = set()

    def fail_once(method: str, path: str) -> tuple[int, str] | None:
        first, _ = f"{method} {path}" not in failed, failed.add(f"{method} {path}")
        return (503, "SlowDown") if first and method in {"PUT", "GET"} else None

    store.fault = fail_once
    save(CheckpointStore(machine(tmp_path, "a") / "s" / "checkpoints"), 1)
    assert CheckpointStore(machine(tmp_path, "b") / "s" / "checkpoints").load() is not None


def test_file_that_is_newer_here_stays_unless_only_the_bucket_counts(
    store: ObjectStore, tmp_path: Path
) -> None:
    here, there = machine(tmp_path, "a"), machine(tmp_path, "b")
    (here / "log").write_text("published")
    publish(here / "log")
    (there / "log").write_text("published, and more since")
    os.utime(there / "log", (store.now() + 5, store.now() + 5))
    fetch_file(there / "log")
    assert (there / "log").read_text() == "published, and more since"
    (there / "own").mkdir()
    (there / "own" / "file").write_text("only here")
    fetch(there / "own")
    assert (there / "own" / "file").exists()
    fetch(there / "own", exact=True)
    assert not (there / "own").exists()


def test_plain_folder_is_no_mirror_and_asks_nobody(store: ObjectStore, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "file").write_text("x")
    publish(tmp_path / "plain")
    fetch(tmp_path / "plain", exact=True)
    discard(tmp_path / "plain")
    check_writable(tmp_path / "plain")
    assert (tmp_path / "plain" / "file").exists()
    assert not store.requests
    assert stored_bytes(tmp_path / "plain") == 0


def test_bucket_that_takes_nothing_is_refused_before_anything_runs(
    store: ObjectStore, tmp_path: Path
) -> None:
    root = machine(tmp_path, "a")
    check_writable(root)
    assert not store.names()
    store.fault = lambda method, path: (403, "AccessDenied")
    with pytest.raises(StorageUnavailable, match="renew the credentials"):
        check_writable(root)
    assert not list(root.glob(".probe*"))


def test_encrypted_checkpoint_is_encrypted_in_the_bucket(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VELODROME_KEY", base64.b64encode(bytes(32)).decode())
    here = CheckpointStore(machine(tmp_path, "a") / "s" / "checkpoints")
    here.save({"w": torch.zeros(2)}, {"word": "canary"})
    assert not [name for name, (content, _) in store.objects.items() if b"canary" in content]
    loaded = CheckpointStore(machine(tmp_path, "b") / "s" / "checkpoints").load()
    assert loaded is not None
    assert loaded.document == {"word": "canary"}


@pytest.mark.parametrize(
    "written",
    [
        "s3://",
        "s3://b",
        "s3://Models/x",
        "s3://models/../x",
        "s3://models/x?endpoint=http://y",
        "s3://me:pw@models/x",
    ],
)
def test_address_that_is_no_bucket_and_prefix_is_refused(written: str) -> None:
    with pytest.raises(WrongInput, match="s3://BUCKET/PREFIX") as raised:
        Bucket.parse(written)
    assert "pw" not in str(raised.value)
