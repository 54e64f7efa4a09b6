"""Which examples each step takes: whatever the ranks and the accumulated batches, each once an epoch."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from typing import Any

import pytest

from tests.trainers import tiny
from trainers.data.batches import Batches
from trainers.loop.micro_batches import MicroBatch, MicroBatchFeed, PartSources, rank_batches
from trainers.types import Ranks

SHAPES = [
    (size, ranks, accumulate)
    for size in (1, 8, 13, 25, 26, 40, "all")
    for ranks in (1, 2, 3)
    for accumulate in (1, 2, 3, 50)
]


def feeds(size: Any, ranks: int, accumulate: int, rows: int = 25) -> list[MicroBatchFeed]:
    """One a rank."""
    source = Batches(tiny.data(rows), "train")
    params = {"batch_size": size, "accumulate": accumulate}
    return [MicroBatchFeed(source, params, 7, Ranks(rank=rank, world_size=ranks)) for rank in range(ranks)]


def epochs_of(feed: MicroBatchFeed, epochs: int, first: int = 0) -> list[list[MicroBatch]]:
    return list(islice(feed.groups(first), epochs * feed.steps_per_epoch - first))


@pytest.mark.parametrize(("size", "ranks", "accumulate"), SHAPES)
def test_steps_of_an_epoch_take_each_example_once_and_weigh_it_alike(
    size: Any, ranks: int, accumulate: int
) -> None:
    """The mean over ranks of a step's weighted means is the mean over its examples, each with one share."""
    made = [epochs_of(feed, 2) for feed in feeds(size, ranks, accumulate)]
    joint = 25 if size == "all" else size * ranks
    batches = -(-25 // joint)
    steps = -(-batches // min(accumulate, batches))
    assert {len(groups) for groups in made} == {2 * steps}
    for epoch in range(2):
        seen = Counter[int]()
        for step in range(epoch * steps, (epoch + 1) * steps):
            group = [micro for groups in made for micro in groups[step]]
            shares = Counter[int]()
            for micro in group:
                counted = micro.positions[: micro.examples].tolist()
                seen.update(counted)
                for position in counted:
                    shares[position] += micro.weight / ranks / micro.examples
            assert {micro.of for micro in group} == {len(shares)}
            assert all(share == pytest.approx(1 / len(shares)) for share in shares.values())
            full = joint * min(accumulate, batches)
            assert len(shares) == (full if step + 1 < (epoch + 1) * steps else 25 - (steps - 1) * full)
        assert seen == Counter(range(25))


@pytest.mark.parametrize(("size", "ranks", "accumulate"), SHAPES)
def test_groups_from_any_step_on_are_those_of_the_whole(size: Any, ranks: int, accumulate: int) -> None:
    for feed in feeds(size, ranks, accumulate):
        whole = epochs_of(feed, 3)
        for first in range(0, len(whole), max(1, len(whole) // 7)):
            rest = epochs_of(feed, 3, first)
            assert len(rest) == len(whole) - first
            for ours, theirs in zip(rest, whole[first:], strict=True):
                assert [micro[1:] for micro in ours] == [micro[1:] for micro in theirs]
                assert [m.positions.tolist() for m in ours] == [m.positions.tolist() for m in theirs]


def test_feed_says_what_a_full_batch_and_a_step_hold() -> None:
    (feed,) = feeds(8, 1, 2)
    assert (feed.batch_size, feed.accumulate, feed.steps_per_epoch) == (8, 2, 2)
    assert feeds(40, 1, 9)[0].batch_size == 25
    assert feeds(40, 1, 9)[0].accumulate == 1
    assert [feed.batch_size for feed in feeds("all", 2, 1)] == [13, 13]
    assert [feed.batch_size for feed in feeds(20, 3, 1)] == [9, 9, 9]
    assert [feed.batch_size for feed in feeds(4, 3, 1)] == [4, 4, 4]


@pytest.mark.parametrize("length", [0, 1, 7, 30])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_judge_consecutive_shares_of_about_the_same_size(length: int, world: int) -> None:
    shares = [
        [list(batch) for batch in rank_batches(length, 4, Ranks(rank=rank, world_size=world))]
        for rank in range(world)
    ]
    assert [place for share in shares for batch in share for place in batch] == list(range(length))
    sizes = [sum(map(len, share)) for share in shares]
    assert max(sizes) - min(sizes) <= 1
    assert all(len(batch) == 4 for share in shares for batch in share[:-1])


def test_parts_are_opened_once_and_when_first_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = PartSources(tiny.data(), "cpu")
    assert parts["train"] is parts["train"]
    assert (parts["train"].part, parts["test"].part) == ("train", "test")
