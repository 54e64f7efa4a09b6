from __future__ import annotations

import builtins
import errno
import json
import multiprocessing
import os
import pickle
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from infra import sealed
from infra.checkpoints import CheckpointStore, Damaged, verify_folder, write_folder
from infra.errors import StorageUnavailable, WrongInput


def _tensors(step: int) -> dict[str, torch.Tensor]:
    return {"model/weight": torch.full((64, 64), float(step)), "step": torch.tensor(step)}


def _save(store: CheckpointStore, step: int) -> Path:
    return store.save(_tensors(step), {"step": step, "identity": {"family": "a"}})


def _step(store: CheckpointStore) -> int | None:
    loaded = store.load()
    if loaded is None:
        return None
    assert int(loaded.tensors["step"]) == loaded.document["step"]
    assert (loaded.tensors["model/weight"] == loaded.document["step"]).all()
    return int(loaded.document["step"])


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
        _save(store, step)
    assert len(store.paths()) == keep
    assert _step(store) == 4
    assert sorted(os.listdir(tmp_path)) == [path.name for path in store.paths()]


def test_keep_must_be_at_least_one(tmp_path: Path) -> None:
    with pytest.raises(WrongInput):
        CheckpointStore(tmp_path, keep=0)


def _truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def _empty(path: Path) -> None:
    os.truncate(path, 0)


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[random.Random(len(content)).randrange(len(content))] ^= 4
    path.write_bytes(content)


def _zero_4k(path: Path) -> None:
    content = bytearray(path.read_bytes())
    start = max(0, len(content) // 2 - 2048)
    content[start : start + 4096] = bytes(min(4096, len(content) - start))
    path.write_bytes(content)


def _link(path: Path) -> None:
    target = path.with_name("elsewhere")
    path.rename(path.parent.parent / target.name)
    path.symlink_to(path.parent.parent / target.name)


@pytest.mark.parametrize("harm", [_truncate, _empty, Path.unlink, _flip, _zero_4k, _link])
@pytest.mark.parametrize("file", ["tensors.safetensors", "document.json", "manifest.json"])
def test_damage_is_found_and_the_previous_is_loaded(
    tmp_path: Path, harm: Callable[[Path], None], file: str
) -> None:
    store = CheckpointStore(tmp_path / "t", keep=2)
    _save(store, 1)
    newest = _save(store, 2)
    harm(newest / file)
    loaded = store.load()
    assert loaded is not None
    assert loaded.document["step"] == 1
    assert len(loaded.damaged) == 1
    assert newest.name in loaded.damaged[0]
    assert file in loaded.damaged[0]


def test_every_byte_of_the_manifest_is_watched(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    path = _save(store, 1) / "manifest.json"
    content = path.read_bytes()
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        assert store.load() is None, place
    path.write_bytes(content)
    assert _step(store) == 1


def test_all_damaged_is_none_and_each_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    for step in (1, 2):
        _flip(_save(store, step) / "tensors.safetensors")
    assert store.load() is None
    assert len(caplog.records) == 2


def test_a_pickle_is_never_executed(tmp_path: Path) -> None:
    canary = tmp_path / "canary"

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (canary,))

    store = CheckpointStore(tmp_path / "t", keep=2)
    _save(store, 1)
    newest = _save(store, 2)
    (newest / "optimizer.pkl").write_bytes(pickle.dumps(Payload()))
    assert _step(store) == 1
    (newest / "optimizer.pkl").unlink()
    for name in ("tensors.safetensors", "document.json"):
        original = (newest / name).read_bytes()
        (newest / name).write_bytes(pickle.dumps(Payload()))
        assert _step(store) == 1
        (newest / name).write_bytes(original)
    assert _step(store) == 2
    # sealed by its own manifest, as an attacker would: read as safetensors, refused, and still not run
    forged = write_folder(tmp_path / "f", files={"tensors.safetensors": pickle.dumps(Payload())})
    with pytest.raises(Exception, match=r"(?i)header"):
        sealed.read_tensors(verify_folder(forged)["tensors.safetensors"])
    assert not canary.exists()


class _Fault(Exception):
    pass


def _failing(monkeypatch: pytest.MonkeyPatch, nth: int, error: BaseException) -> list[int]:
    """Makes the nth call to the file system from now on fail, of those that `save` makes."""
    calls = [0]

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls[0] += 1
            if calls[0] == nth:
                raise error
            return real(*args, **kwargs)

        return call

    real_open = builtins.open

    def opened(*args: Any, **kwargs: Any) -> Any:
        file = real_open(*args, **kwargs)
        writing = _Writing(file, counted(file.write))
        return writing if "x" in str(args[1:]) else file

    monkeypatch.setattr(builtins, "open", counted(opened))
    for name in ("fsync", "rename", "mkdir", "listdir"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    return calls


class _Writing:
    def __init__(self, file: Any, write: Callable[..., Any]) -> None:
        self._file, self.write = file, write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _Writing:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_no_failing_call_loses_the_previous_or_leaves_a_part(tmp_path: Path, code: int) -> None:
    nth, failed = 0, 0
    while True:
        nth += 1
        store = CheckpointStore(tmp_path / str(nth))
        _save(store, 1)
        with pytest.MonkeyPatch.context() as patch:
            calls = _failing(patch, nth, OSError(code, os.strerror(code)))
            try:
                _save(store, 2)
                error = None
            except StorageUnavailable as caught:
                error = caught
        if calls[0] < nth:
            break
        failed += 1
        assert _step(store) in ((1, 2) if error else (2,))  # only the last fsync fails after it is there
        if error:
            assert errno.errorcode[code] in str(error)
            assert str(tmp_path) in str(error)
        assert all(path.is_dir() for path in store.paths())
        assert not [name for name in os.listdir(store.folder) if name.startswith(sealed.ASIDE)]
        _save(store, 3)
        assert _step(store) == 3
    assert failed >= 10


def test_a_gone_folder_is_made_again_and_a_blocked_one_is_said(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "t")
    _save(store, 1)
    store.delete()
    _save(store, 2)
    assert _step(store) == 2
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageUnavailable, match=r"ENOTDIR|EEXIST"):
        _save(CheckpointStore(tmp_path / "file" / "t"), 1)


def _save_for_ever(folder: str, ready: Any, committed: Any) -> None:
    store = CheckpointStore(Path(folder))
    step = 0
    ready.set()
    while True:
        step += 1
        weight = torch.full((128, 128), float(step))
        store.save({"model/weight": weight, "step": torch.tensor(step)}, {"step": step})
        committed.value = step


@pytest.mark.slow
def test_kill_at_random_moments_loses_no_committed_checkpoint(tmp_path: Path) -> None:
    assert _lost_by_killing(tmp_path, times=50) == []


def test_kill_loses_no_committed_checkpoint(tmp_path: Path) -> None:
    assert _lost_by_killing(tmp_path, times=6) == []


def _lost_by_killing(tmp_path: Path, times: int) -> list[tuple[int | None, int]]:
    """Kills a writer so many times; what was loaded and what had been committed, wherever that was lost."""
    lost = []
    fork = multiprocessing.get_context("fork")  # this process has no threads of torch yet worth sparing
    draw = random.Random(0)
    for turn in range(times):
        folder = tmp_path / str(turn)
        # No lock on the number: a writer that is killed while it holds one would never free it.
        ready, committed = fork.Event(), fork.Value("q", 0, lock=False)
        writer = fork.Process(target=_save_for_ever, args=(str(folder), ready, committed))
        writer.start()
        assert writer.pid is not None
        assert ready.wait(10)
        time.sleep(draw.uniform(0.005, 0.06))
        os.kill(writer.pid, signal.SIGKILL)
        writer.join(10)
        store = CheckpointStore(folder)
        step = _step(store)
        if (step or 0) < committed.value:
            lost.append((step, committed.value))
        _save(store, 10_000)  # a new writer clears what the dead one left
        assert os.listdir(folder) == [store.paths()[-1].name]
    return lost


def test_what_a_live_writer_has_aside_stays(tmp_path: Path) -> None:
    import socket

    live = tmp_path / f"{sealed.ASIDE}{socket.gethostname()}-{os.getppid()}-{'0' * 32}"
    other_host = tmp_path / f"{sealed.ASIDE}else-where-1-{'0' * 32}"
    old = tmp_path / f"{sealed.ASIDE}else-where-2-{'0' * 32}"
    for folder in (live, other_host, old):
        folder.mkdir()
    os.utime(old, (0, 0))
    _save(CheckpointStore(tmp_path), 1)
    assert live.exists()
    assert other_host.exists()
    assert not old.exists()


def test_a_reader_beside_a_writer_always_finds_one(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    ready, committed = fork.Event(), fork.Value("q", 0, lock=False)
    writer = fork.Process(target=_save_for_ever, args=(str(tmp_path), ready, committed))
    writer.start()
    try:
        deadline = time.monotonic() + 10
        while committed.value < 1 and time.monotonic() < deadline:
            time.sleep(0.001)
        for _ in range(100):
            before = committed.value
            step = _step(CheckpointStore(tmp_path))
            assert step is not None
            assert step >= before
    finally:
        writer.kill()
        writer.join(10)


def test_refuses_what_another_configuration_wrote(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    wrote = {"family": "a", "params": {"x": 1}, "weights": {f"w{i}": ["float32", i] for i in range(20)}}
    store.save({}, {"identity": wrote})
    assert store.load(wrote) is not None
    wanted = {"family": "b", "weights": {"v": ["float32", 1]}}
    with pytest.raises(WrongInput) as caught:
        store.load(wanted)
    text = str(caught.value)
    assert "family is 'a' instead of 'b'" in text
    assert "weights.v is missing" in text
    assert "params.x is unexpected" in text
    assert "and 13 more" in text


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
