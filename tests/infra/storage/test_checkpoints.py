from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from infra.errors import StorageUnavailable, WrongInput
from infra.storage import sealed_folders
from infra.storage.checkpoints import CheckpointStore, StorageDamaged, verify_folder, write_folder
from tests.faults.cases.checkpoints import flip, save, step_of


def test_checkpoint_loads_bit_for_bit_as_saved(tmp_path: Path) -> None:
    tensors = {
        "half": torch.randn(3, 5).bfloat16(),
        "empty": torch.zeros(0),
        "scalar": torch.tensor(1.5),
        "turned": torch.randn(4, 3).t(),
        "bytes": torch.arange(7, dtype=torch.uint8),
    }
    store = CheckpointStore(tmp_path / "trial")
    path = store.save(tensors, {"value": 0.1 + 0.2, "none": None})
    loaded = store.load()
    assert loaded is not None
    assert loaded.path == path
    assert loaded.document == {"value": 0.1 + 0.2, "none": None}
    assert loaded.damaged == ()
    for name, tensor in tensors.items():
        assert torch.equal(loaded.tensors[name], tensor)
        assert loaded.tensors[name].dtype == tensor.dtype


def test_checkpoint_of_tied_weights_loads_them_as_two(tmp_path: Path) -> None:
    weight = torch.randn(4, 4)
    store = CheckpointStore(tmp_path)
    store.save({"in": weight, "out": weight, "part": weight[:2]}, {})
    loaded = store.load()
    assert loaded is not None
    assert torch.equal(loaded.tensors["in"], loaded.tensors["out"])
    assert torch.equal(loaded.tensors["part"], weight[:2])


def test_checkpoint_store_without_folder_loads_none(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "never")
    assert store.load() is None
    store.delete()


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_checkpoint_store_keeps_the_newest(tmp_path: Path, keep: int) -> None:
    store = CheckpointStore(tmp_path, keep)
    for step in range(5):
        save(store, step)
    assert len(store.paths()) == keep
    assert step_of(store) == 4
    assert sorted(os.listdir(tmp_path)) == [path.name for path in store.paths()]


def test_checkpoint_store_must_keep_at_least_one(tmp_path: Path) -> None:
    with pytest.raises(WrongInput):
        CheckpointStore(tmp_path, keep=0)


def test_checkpoint_store_with_all_damaged_loads_none_and_logs_each(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    for step in (1, 2):
        flip(save(store, step) / "tensors.safetensors")
    assert store.load() is None
    assert len(caplog.records) == 2


def test_unfinished_folder_of_a_live_writer_is_kept(tmp_path: Path) -> None:
    import socket

    live = tmp_path / f"{sealed_folders.ASIDE}{socket.gethostname()}-{os.getppid()}-{'0' * 32}"
    other_host = tmp_path / f"{sealed_folders.ASIDE}else-where-1-{'0' * 32}"
    old = tmp_path / f"{sealed_folders.ASIDE}else-where-2-{'0' * 32}"
    for folder in (live, other_host, old):
        folder.mkdir()
    os.utime(old, (0, 0))
    save(CheckpointStore(tmp_path), 1)
    assert live.exists()
    assert other_host.exists()
    assert not old.exists()


def test_sealed_folder_of_any_files_verifies(tmp_path: Path) -> None:
    folder = write_folder(
        tmp_path / "bundle",
        {"weights.safetensors": {"w": torch.ones(2)}},
        {"params.json": {"a": [1, 2.5, None, "é"]}},
        {"LICENSE": b"text"},
    )
    parts = verify_folder(folder)
    assert parts.keys() == {"weights.safetensors", "params.json", "LICENSE"}
    assert json.loads(parts["params.json"]) == {"a": [1, 2.5, None, "é"]}
    assert torch.equal(sealed_folders.read_tensors(parts["weights.safetensors"])["w"], torch.ones(2))
    with pytest.raises(StorageUnavailable):
        write_folder(folder, files={"other": b""})
    assert verify_folder(folder) == parts
    with pytest.raises(FileNotFoundError):
        verify_folder(tmp_path / "none")


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "manifest.json", "a\\b", "a\0b", "/etc/x"])
def test_sealed_file_without_plain_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="plain name"):
        write_folder(tmp_path / "b", files={name: b""})


def test_manifest_that_names_outside_files_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "b", files={"a": b"1"})
    secret = tmp_path / "secret"
    secret.write_bytes(b"1")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["../secret"] = manifest["files"].pop("a")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StorageDamaged, match=r"manifest\.json"):
        verify_folder(folder)


def test_sealed_folder_of_another_format_is_damaged(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "b", files={"a": b"1"})
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace('"format":1', '"format":2'))
    with pytest.raises(StorageDamaged, match="format 2, where this version reads 1"):
        verify_folder(folder)
