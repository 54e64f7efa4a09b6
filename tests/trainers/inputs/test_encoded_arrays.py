from __future__ import annotations

import multiprocessing
import os
import signal
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.trainers.data.families import Recorder
from trainers.data.dataset import Dataset
from trainers.data.sources.opening import open_dataset
from trainers.errors import InputError
from trainers.inputs.encoded_arrays import FolderWriter, clear_cache, encode_dataset
from trainers.storage import shared_folders
from trainers.storage.shared_folders import FolderBusy, lock_file, shared_folder


def diabetes(folder: Path, **rest: Any) -> Dataset:
    return open_dataset({"source": "builtin:diabetes", **rest}, base=folder, cache=folder)


def times(folder: Path) -> int:
    return len((folder / "log").read_text().splitlines())


def recorder(folder: Path) -> Recorder:
    return Recorder({"log": str(folder / "log")})


def test_arrays_are_encoded_once_per_family(tmp_path: Path) -> None:
    dataset, family = diabetes(tmp_path), recorder(tmp_path)
    first = encode_dataset(family, dataset, {}, tmp_path)
    start = time.perf_counter()
    again = encode_dataset(recorder(tmp_path), diabetes(tmp_path), {"learning_rate": 0.5}, tmp_path)
    assert time.perf_counter() - start < 0.5
    clear_cache()
    reopened = encode_dataset(family, dataset, {}, tmp_path)
    assert times(tmp_path) == 1
    assert first is again
    assert reopened.folder == first.folder
    for name, values in first.arrays.items():
        assert np.array_equal(reopened.arrays[name], values)
    assert first.arrays["numbers"].shape == (442, 10)
    assert first.state["task"] == "regression"
    assert first.splits is dataset.splits


def test_arrays_of_other_data_or_parameters_get_another_folder(tmp_path: Path) -> None:
    family = recorder(tmp_path)
    folders_made = {
        encode_dataset(family, diabetes(tmp_path), {}, tmp_path).folder,
        encode_dataset(family, diabetes(tmp_path), {"width": 2}, tmp_path).folder,
        encode_dataset(family, diabetes(tmp_path, split={"salt": 1}), {}, tmp_path).folder,
        encode_dataset(family, diabetes(tmp_path, prepare={"scale": "minmax"}), {}, tmp_path).folder,
        encode_dataset(family, diabetes(tmp_path, columns={"drop": ["age"]}), {}, tmp_path).folder,
    }
    assert len(folders_made) == 5


def test_arrays_of_reordered_rows_get_another_folder(tmp_path: Path) -> None:
    table = pd.DataFrame({"x": np.arange(100) * 1.0, "y": np.arange(100) / 7})
    family = recorder(tmp_path)
    found = []
    for order in (table, table[::-1]):
        order.to_csv(tmp_path / "a.csv", index=False)
        dataset = open_dataset({"source": "csv:a.csv"}, base=tmp_path, cache=tmp_path)
        found.append((dataset.fingerprint, encode_dataset(family, dataset, {}, tmp_path).folder))
    assert found[0][0] == found[1][0]
    assert found[0][1] != found[1][1]


def test_arrays_enter_torch_without_copy_or_warning(tmp_path: Path) -> None:
    import torch

    found = encode_dataset(recorder(tmp_path), diabetes(tmp_path), {}, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = torch.from_numpy(found.arrays["numbers"])
    assert tensor.data_ptr() == found.arrays["numbers"].ctypes.data
    tensor[0] = 77.0  # copy-on-write: another lane never sees it
    clear_cache()
    other = encode_dataset(recorder(tmp_path), diabetes(tmp_path), {}, tmp_path)
    assert not (other.arrays["numbers"][0] == 77.0).any()


@pytest.mark.parametrize("harm", ["truncate", "remove", "flip", "manifest", "state"])
def test_damaged_arrays_folder_is_encoded_anew(tmp_path: Path, harm: str) -> None:
    dataset, family = diabetes(tmp_path), recorder(tmp_path)
    first = encode_dataset(family, dataset, {}, tmp_path)
    assert first.folder is not None
    whole = {name: values.copy() for name, values in first.arrays.items()}
    file = first.folder / "numbers.npy"
    data = bytearray(file.read_bytes())
    if harm == "truncate":
        os.replace(_new(tmp_path, bytes(data[:-100])), file)
    elif harm == "remove":
        file.unlink()
    elif harm == "flip":
        data[-1] ^= 1
        os.replace(_new(tmp_path, bytes(data)), file)
    elif harm == "manifest":
        (first.folder / shared_folders.MANIFEST).write_text("{]")
    else:
        (first.folder / "state.json").write_text("{}")
    clear_cache()
    again = encode_dataset(family, dataset, {}, tmp_path)
    assert times(tmp_path) == 2
    for name, values in whole.items():
        assert np.array_equal(again.arrays[name], values)


def _new(folder: Path, data: bytes) -> Path:
    path = folder / "new"
    path.write_bytes(data)
    return path


def _encode_there(folder: str, start: Any, answers: Any) -> None:
    path = Path(folder)
    dataset = diabetes(path)
    start.wait(30)
    found = encode_dataset(recorder(path), dataset, {}, path)
    answers.put(float(found.arrays["numbers"].sum()))


def test_arrays_for_two_processes_at_once_are_encoded_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, answers = context.Barrier(2), context.Queue()
    workers = [context.Process(target=_encode_there, args=(str(tmp_path), start, answers)) for _ in range(2)]
    for worker in workers:
        worker.start()
    sums = [answers.get(timeout=600) for _ in workers]
    for worker in workers:
        worker.join(30)
        worker.close()
    assert sums[0] == sums[1]
    assert times(tmp_path) == 1


def _build_and_hang(folder: str, ready: Any) -> None:
    def build(aside: Path) -> None:
        (aside / "half").write_text("half")
        ready.set()
        time.sleep(60)

    shared_folder(Path(folder), build)


def test_shared_folder_of_a_dead_builder_is_built_by_the_next(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    worker = context.Process(target=_build_and_hang, args=(str(tmp_path / "f"), ready))
    worker.start()
    assert ready.wait(30)
    with pytest.raises(FolderBusy, match=r"within 0\.1 s"):
        shared_folder(tmp_path / "f", lambda aside: None, wait_s=0.1)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join(30)
    worker.close()
    folder = shared_folder(
        tmp_path / "f", lambda aside: (aside / "whole").write_text("x") and None, wait_s=10
    )
    assert sorted(path.name for path in folder.iterdir()) == [shared_folders.MANIFEST, "whole"]
    assert not list(tmp_path.glob("*.aside")) + list(tmp_path.glob(".*.aside"))


def test_failed_arrays_build_leaves_nothing(tmp_path: Path) -> None:
    def build(aside: Path) -> None:
        (aside / "half").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        shared_folder(tmp_path / "f", build)
    assert [path.name for path in tmp_path.iterdir()] == [".f.lock"]
    with lock_file(tmp_path / ".f.lock", 0.1):
        pass


def test_folder_writer_refuses_bad_names_shapes_and_objects(tmp_path: Path) -> None:
    writer = FolderWriter(tmp_path, 3)
    writer.put("target", np.arange(3))
    for name, values, says in [
        ("target", np.arange(3), "once"),
        ("../up", np.arange(3), "identifier"),
        ("short", np.arange(2), "3 rows"),
        ("objects", np.array([None] * 3), "never stored"),
    ]:
        with pytest.raises(InputError, match=says):
            writer.put(name, values)
    assert writer.create("empty", (3, 0), np.float32).shape == (3, 0)


class NotJson(Recorder):
    def encode(self, dataset: Dataset, params: Any, writer: Any) -> dict[str, Any]:
        return {"mean": float("nan")}


def test_encoder_state_that_is_not_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"NotJson\.encode returns must be plain JSON"):
        encode_dataset(NotJson(), diabetes(tmp_path), {}, tmp_path)
