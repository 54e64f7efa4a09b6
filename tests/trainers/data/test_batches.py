from __future__ import annotations

import time
import warnings
from collections.abc import Iterable
from itertools import chain
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.data.batches import Batches
from trainers.data.dataset import EncodedDataset
from trainers.errors import InputError
from trainers.loop.micro_batches import MicroBatchFeed
from trainers.types import Ranks


def make_encoded(rows: int = 100, part: Any = None) -> EncodedDataset:
    chosen = np.arange(rows) if part is None else np.array(part)
    arrays = {"inputs": np.arange(rows * 3, dtype=np.float32).reshape(rows, 3), "target": np.arange(rows)}
    return EncodedDataset(
        arrays=arrays, state={}, splits={"train": chosen, "validation": np.zeros(0, np.int64)}
    )


def flat(lists: Iterable[list[int]]) -> list[int]:
    return list(chain.from_iterable(lists))


def batch_positions(batches: Batches, **how: Any) -> list[list[int]]:
    given_order = {"epoch": 1, "seed": 0, "batch_size": 8, **how}
    return [positions.tolist() for positions in batches.order(**given_order)]


def batch_weight(batches: Batches, epoch: int, step: int, size: int, ranks: Ranks) -> float:
    feed = MicroBatchFeed(batches, {"batch_size": size, "accumulate": 1}, 0, ranks)
    [batch] = next(feed.groups(epoch * feed.steps_per_epoch + step))
    return batch.weight


def test_batches_hold_the_examples_of_their_part() -> None:
    batches = Batches(make_encoded(100, [5, 7, 90, 91]), "train")
    found = batches.gather(torch.tensor([3, 0]))
    assert found["target"].tolist() == [91, 5]
    assert found["inputs"][0].tolist() == [273.0, 274.0, 275.0]
    assert (len(batches), batches.size_bytes) == (4, 4 * (3 * 4 + 8))


def test_batches_of_an_epoch_see_each_example_once_in_own_order() -> None:
    batches = Batches(make_encoded(), "train")
    first, second = batch_positions(batches), batch_positions(batches, epoch=2)
    for epoch in (first, second):
        assert sorted(flat(epoch)) == list(range(100))
    assert first != second
    assert first != batch_positions(batches, seed=1)
    assert first == batch_positions(Batches(make_encoded(), "train"))
    assert flat(batch_positions(batches, shuffle=False)) == list(range(100))
    assert batches.steps(8) == len(first) == 13


def test_texts_of_a_batch_are_alike_in_length() -> None:
    lengths = np.random.default_rng(0).integers(1, 40, 1003)
    target = np.where(np.arange(40) < lengths[:, None], 5, -100)
    rows = np.arange(3, 1003)
    encoded = EncodedDataset(arrays={"target": target}, state={"alike_by": "target"}, splits={"train": rows})
    batches = Batches(encoded, "train")
    found = batch_positions(batches, batch_size=16)
    assert sorted(flat(found)) == list(range(1000))
    assert [len(batch) for batch in found] == 62 * [16] + [8]
    spread = [np.ptp(lengths[3:][batch]) for batch in found[:-1]]
    assert max(spread) < 8
    firsts = [int(lengths[3:][batch[0]]) for batch in found]
    assert firsts != sorted(firsts)
    assert found != batch_positions(batches, batch_size=16, epoch=2)
    assert found[5:] == batch_positions(batches, batch_size=16, start=5)


def test_batches_of_resumed_epoch_go_on_where_they_stopped() -> None:
    batches = Batches(make_encoded(), "train")
    assert batch_positions(batches, start=5) == batch_positions(batches)[5:]
    assert batch_positions(batches, start=13) == []


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 4), st.integers(0, 3))
def test_batches_of_all_ranks_equal_those_of_one(rows: int, size: int, world: int, epoch: int) -> None:
    batches = Batches(make_encoded(rows), "train")
    alone = batch_positions(batches, epoch=epoch, batch_size=size * world)
    ranks = [
        batch_positions(batches, epoch=epoch, batch_size=size, rank=r, world_size=world) for r in range(world)
    ]
    assert {len(rank) for rank in ranks} == {len(alone)} == {batches.steps(size, world)}
    for step, joint in enumerate(alone):
        weights = [
            batch_weight(batches, epoch, step, size, Ranks(rank=r, world_size=world)) for r in range(world)
        ]
        together = flat(rank[step] for rank, w in zip(ranks, weights, strict=True) if w)
        assert together == joint
        means = [np.mean(rank[step]) * w for rank, w in zip(ranks, weights, strict=True)]
        assert np.mean(means) == pytest.approx(np.mean(joint))


def test_the_full_batch_is_not_copied_where_rows_stand_together() -> None:
    data = make_encoded(100, range(10, 60))
    batches = Batches(data, "train")
    [positions] = batches.order(3, 0, "all")
    found = batches.gather(positions)
    assert found["inputs"].data_ptr() == data.arrays["inputs"][10:].ctypes.data
    assert found["target"].tolist() == list(range(10, 60))
    scattered = Batches(make_encoded(100, range(0, 100, 2)), "train")
    first, second = (scattered.gather(next(scattered.order(e, 0, "all"))) for e in (1, 2))
    assert first["inputs"].data_ptr() == second["inputs"].data_ptr()
    assert first["target"].tolist() == list(range(0, 100, 2))


def test_full_batch_is_split_evenly_over_ranks() -> None:
    batches = Batches(make_encoded(5), "train")
    halves = [batch_positions(batches, batch_size="all", rank=rank, world_size=2) for rank in (0, 1)]
    assert halves == [[[0, 1, 2]], [[3, 4]]]
    assert batches.steps("all", 2) == 1


def test_a_device_without_room_gets_batches_from_the_host() -> None:
    """`meta` stands for a device with another memory: shapes without values."""
    data = make_encoded()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small = Batches(data, "train", "meta", budget_bytes=10)
        large = Batches(data, "train", "meta", budget_bytes=10_000)
    assert (small.resident, large.resident) == (False, True)
    found = small.gather(torch.arange(7))
    assert (found["inputs"].device.type, tuple(found["inputs"].shape)) == ("meta", (7, 3))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("budget", [0, None])
def test_batches_on_gpu_equal_those_on_host(budget: int | None) -> None:
    data = make_encoded(100, range(0, 100, 3))
    here, there = Batches(data, "train"), Batches(data, "train", "cuda", budget_bytes=budget)
    for size in (8, "all"):
        pairs = zip(here.order(1, 0, size), there.order(1, 0, size), strict=True)  # type: ignore[arg-type]
        for mine, other in pairs:
            a, b = here.gather(mine), there.gather(other)
            assert all(torch.equal(a[name], b[name].cpu()) for name in a)


def test_batches_are_several_times_faster_than_a_data_loader() -> None:
    rows = 1400
    arrays = {"inputs": np.zeros((rows, 64), np.uint8), "target": np.zeros(rows, np.int64)}
    data = EncodedDataset(arrays=arrays, state={}, splits={"train": np.arange(rows)})
    batches = Batches(data, "train")
    tensors = torch.utils.data.TensorDataset(*(torch.from_numpy(array) for array in arrays.values()))
    loader = torch.utils.data.DataLoader(tensors, batch_size=64, shuffle=True)

    def ours() -> None:
        for positions in batches.order(1, 0, 64):
            batches.gather(positions)

    def theirs() -> None:
        for _ in loader:
            pass

    assert _fastest(ours) * 3 < _fastest(theirs)


def _fastest(epoch: Any) -> float:
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        epoch()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def test_batches_of_a_part_without_rows_are_refused() -> None:
    for part in ("validation", "test"):
        with pytest.raises(InputError, match=f"the {part} part must have rows"):
            Batches(make_encoded(), part)  # type: ignore[arg-type]
