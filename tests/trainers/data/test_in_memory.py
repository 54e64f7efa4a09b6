"""Data larger than memory streams, and what is decoded is in memory once, whoever looks at it."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from trainers.data.batches import Batches
from trainers.data.dataset import EncodedDataset
from trainers.data.sources import arrays
from trainers.data.sources.opening import open_dataset
from trainers.families.image_cnn import ImageCNN
from trainers.inputs import encoded_arrays
from trainers.inputs.encoded_arrays import clear_cache, encode_dataset

ROWS, SIDE = 4_000, 64


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """47 MiB of images in one file, which counts as large here."""
    monkeypatch.setattr(arrays, "LARGE_BYTES", 1 << 18)
    monkeypatch.setattr(encoded_arrays, "READ_AHEAD_BYTES", 1 << 20)
    return write_images(tmp_path / "images.npz", ROWS)


def write_images(path: Path, rows: int) -> Path:
    """A file of that many images in two classes."""
    pixels = np.random.default_rng(0).integers(0, 256, (rows, SIDE, SIDE, 3), np.uint8)
    np.savez(path, images=pixels, labels=np.arange(rows) % 2)
    return path


def open_as_lane(path: Path) -> EncodedDataset:
    """As a lane opens it."""
    dataset = open_dataset({"source": f"npz:{path}"}, base=path.parent, cache=path.parent / "cache")
    family = ImageCNN({})
    return encode_dataset(family, dataset, family.complete({}), path.parent / "cache")


def test_large_data_file_is_never_whole_in_memory(images: Path) -> None:
    """Opened, split, encoded and gathered for an epoch in a fifth of its size."""
    Batches(open_as_lane(write_images(images.with_name("few.npz"), 40)), "train")  # modules are loaded now
    clear_cache()
    tracemalloc.start()
    try:
        batches = Batches(open_as_lane(images), "train")
        for positions in batches.order(0, 0, 64):
            batches.gather(positions)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < ROWS * SIDE * SIDE * 3 / 5


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux's /proc")
def test_lanes_share_the_memory_pages_of_arrays(images: Path) -> None:
    """What a lane gathers from is the map of a file that every lane of the node finds, not a copy of it."""
    first = open_as_lane(images)
    clear_cache()  # a second lane begins with nothing in memory
    second = open_as_lane(images)
    assert first.folder == second.folder
    assert second.folder is not None
    batches = Batches(second, "train")
    address = batches._arrays["inputs"].data_ptr()
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    (mapping,) = [line for line in lines if _holds(line[0], address)]
    assert int(mapping[4]) == os.stat(second.folder / "inputs.npy").st_ino


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's /proc")
def test_a_large_file_is_read_row_by_row(images: Path) -> None:
    """Without reading ahead, which reads ten times what a shuffled batch needs."""
    found = open_as_lane(images)
    assert found.folder is not None
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    assert any(str(found.folder / "inputs.npy") in line for line in lines)
    flags = next(line for line in lines if line.startswith("VmFlags:"))
    assert "rr" in flags.split()


def _holds(span: str, address: int) -> bool:
    first, last = (int(part, 16) for part in span.split("-"))
    return first <= address < last
