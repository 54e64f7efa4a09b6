"""How a family's trials come together in stacks."""

from __future__ import annotations

from itertools import chain, islice, repeat

import pytest

from infra.search.blocks import Block, block_of, find_block, structural_names
from infra.search.samplers import starting_point
from search_spaces.space import Space
from tests.infra.conftest import family


def test_automatic_blocks_grow_from_4_to_64_four_of_each_size() -> None:
    sizes = chain([4] * 4, [8] * 4, [16] * 4, [32] * 4, repeat(64))
    places = (
        Block(number=number, position=position, size=size)
        for number, size in enumerate(sizes)
        for position in range(size)
    )
    assert [find_block("auto", index) for index in range(1_000)] == list(islice(places, 1_000))


@pytest.mark.parametrize("size", [1, 4, 7])
def test_blocks_of_a_given_size_follow_one_another(size: int) -> None:
    found = [find_block(size, index) for index in range(20)]
    assert [(block.number, block.position) for block in found] == [divmod(index, size) for index in range(20)]
    assert {block.size for block in found} == {size}


@pytest.mark.parametrize("stack", ["off", None])
def test_trial_without_a_stack_is_a_block_of_its_own(stack: str | None) -> None:
    alone = [find_block(stack, index) for index in range(5)]  # type: ignore[arg-type]
    assert alone == [Block(number=index, position=0, size=1) for index in range(5)]


@pytest.mark.parametrize("stack", [4, "auto"])
def test_trials_that_the_search_starts_with_are_blocks_of_their_own_before_the_others(
    stack: int | str,
) -> None:
    known = ({"learning_rate": 0.1, "optimizer": "adam"}, {"learning_rate": 0.2, "optimizer": "adam"})
    started = family(stack=stack, start_with=known)
    assert [(block_of(started, n).size, block_of(started, n).position) for n in (0, 1)] == [(1, 0), (1, 0)]
    assert [block_of(started, 2 + index) for index in range(9)] == [
        find_block(stack, index)  # type: ignore[arg-type]
        for index in range(9)
    ]


def test_numbers_alone_make_no_other_structure() -> None:
    space = Space.from_mapping({
        "learning_rate": {"type": "float", "low": 1e-3, "high": 1.0},
        "hidden": {"type": "int", "low": 1, "high": 9},
        "depth": {"type": "categorical", "choices": [1]},
    })  # fmt: skip
    assert structural_names(space) <= {"hidden", "depth"}
    assert "hidden" in structural_names(space)


WIDE = Space.from_mapping({
    "learning_rate": {"type": "float", "low": 1e-3, "high": 1.0, "log": True},
    "hidden": {"type": "int", "low": 1, "high": 1_000},
}).to_json()  # fmt: skip


@pytest.mark.parametrize(("sampler", "first"), [("tpe", 10), ("gp", 10), ("random", 10), ("qmc", 40)])
@pytest.mark.parametrize("stack", [4, None])
def test_points_before_the_sampler_is_asked_are_the_sequences(
    sampler: str, first: int, stack: int | None
) -> None:
    """Those of a block have the structure of the sequence's point at the block's number."""
    asked = family(sampler={"name": sampler}, space=WIDE, stack=stack, trials=40)
    points = [starting_point(asked, 7, number, 1) for number in range(40)]
    whole = [point for point in points[:first] if point is not None]
    assert len(whole) == first
    assert len({point["learning_rate"] for point in whole}) == first
    alone = [
        starting_point(family(sampler={"name": "qmc"}, space=WIDE, trials=40), 7, number, 1) or {}
        for number in range(40)
    ]
    for number, point in enumerate(whole):
        assert point["learning_rate"] == alone[number]["learning_rate"]
        assert point["hidden"] == alone[number // 4 if stack else number]["hidden"]
    for number, rest in enumerate(points[first:], start=first):
        held = {"hidden": alone[number // 4]["hidden"]}
        assert rest == (held if stack and sampler == "random" else None)


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_first_points_of_a_sampler_that_learns_are_one_for_each_lane_at_least(sampler: str) -> None:
    asked = family(sampler={"name": sampler}, space=WIDE, trials=40)
    for lanes, first in ((1, 10), (10, 10), (25, 25)):
        given = [starting_point(asked, 7, number, lanes) is not None for number in range(40)]
        assert given == [True] * first + [False] * (40 - first)


def test_later_trials_of_a_block_share_the_structure_of_its_first_where_the_sampler_learns() -> None:
    asked = family(sampler={"name": "tpe"}, space=WIDE, stack=4, trials=40)
    leader = {"learning_rate": 0.5, "hidden": 77}
    assert starting_point(asked, 7, 12, 1) is None  # the first of its block: the sampler is asked for all
    assert starting_point(asked, 7, 13, 1, leader) == {"hidden": 77}


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_sequence_begins_after_the_trials_that_the_search_starts_with(sampler: str) -> None:
    known = ({"learning_rate": 0.5, "hidden": 1}, {"learning_rate": 0.25, "hidden": 2})
    asked = family(sampler={"name": sampler}, space=WIDE, start_with=known, trials=12)
    alone = family(sampler={"name": sampler}, space=WIDE, trials=12)
    found = [starting_point(asked, 7, number, 1) for number in range(12)]
    assert found == [*known, *(starting_point(alone, 7, number, 1) for number in range(10))]
