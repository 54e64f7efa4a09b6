from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from infra.errors import StorageUnavailable, WrongInput
from infra.storage import sealed_folders as sealed
from infra.storage.checkpoints import CheckpointStore, Damaged, verify_folder, write_folder
from tests.faults.cases.checkpoints import flip, save, step_of


def test_loads_what_was_saved_bit_for_bit(tmp_path: Path) -> None:
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


def test_tied_weights_are_saved_as_one_and_loaded_as_two(tmp_path: Path) -> None:
    weight = torch.randn(4, 4)
    store = CheckpointStore(tmp_path)
    store.save({"in": weight, "out": weight, "part": weight[:2]}, {})
    loaded = store.load()
    assert loaded is not None
    assert torch.equal(loaded.tensors["in"], loaded.tensors["out"])
    assert torch.equal(loaded.tensors["part"], weight[:2])


def test_nothing_there_is_none(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "never")
    assert store.load() is None
    store.delete()


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_keeps_the_newest(tmp_path: Path, keep: int) -> None:
    store = CheckpointStore(tmp_path, keep)
    for step in range(5):
        save(store, step)
    assert len(store.paths()) == keep
    assert step_of(store) == 4
    assert sorted(os.listdir(tmp_path)) == [path.name for path in store.paths()]


def test_keep_must_be_at_least_one(tmp_path: Path) -> None:
    with pytest.raises(WrongInput):
        CheckpointStore(tmp_path, keep=0)


def test_all_damaged_is_none_and_each_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    for step in (1, 2):
        flip(save(store, step) / "tensors.safetensors")
    assert store.load() is None
    assert len(caplog.records) == 2


def test_what_a_live_writer_has_aside_stays(tmp_path: Path) -> None:
    import socket

    live = tmp_path / f"{sealed.ASIDE}{socket.gethostname()}-{os.getppid()}-{'0' * 32}"
    other_host = tmp_path / f"{sealed.ASIDE}else-where-1-{'0' * 32}"
    old = tmp_path / f"{sealed.ASIDE}else-where-2-{'0' * 32}"
    for folder in (live, other_host, old):
        folder.mkdir()
    os.utime(old, (0, 0))
    save(CheckpointStore(tmp_path), 1)
    assert live.exists()
    assert other_host.exists()
    assert not old.exists()


def test_a_sealed_folder_of_any_files(tmp_path: Path) -> None:
    folder = write_folder(
        tmp_path / "bundle",
        {"weights.safetensors": {"w": torch.ones(2)}},
        {"params.json": {"a": [1, 2.5, None, "é"]}},
        {"LICENSE": b"text"},
    )
    parts = verify_folder(folder)
    assert parts.keys() == {"weights.safetensors", "params.json", "LICENSE"}
    assert json.loads(parts["params.json"]) == {"a": [1, 2.5, None, "é"]}
    assert torch.equal(sealed.read_tensors(parts["weights.safetensors"])["w"], torch.ones(2))
    with pytest.raises(StorageUnavailable):
        write_folder(folder, files={"other": b""})
    assert verify_folder(folder) == parts
    with pytest.raises(FileNotFoundError):
        verify_folder(tmp_path / "none")


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "manifest.json", "a\\b", "a\0b", "/etc/x"])
def test_a_file_needs_a_plain_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="plain name"):
        write_folder(tmp_path / "b", files={name: b""})


def test_a_manifest_from_elsewhere_reaches_no_other_file(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "b", files={"a": b"1"})
    secret = tmp_path / "secret"
    secret.write_bytes(b"1")
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["../secret"] = manifest["files"].pop("a")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(Damaged, match=r"manifest\.json"):
        verify_folder(folder)


def test_another_format_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "b", files={"a": b"1"})
    text = (folder / "manifest.json").read_text()
    (folder / "manifest.json").write_text(text.replace('"format":1', '"format":2'))
    with pytest.raises(Damaged, match="format 2, where this version reads 1"):
        verify_folder(folder)
