"""How many lanes a GPU gets, from figures."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.gpus.deciding import (
    LEVELS,
    MARGIN,
    FamilyMemory,
    GpuRoom,
    add_use,
    decide_lanes,
    describe_lanes,
)
from infra.gpus.use import GpuUse, lanes_of, measure_use
from tests.infra.gpus.fake_memory import GIB, FakeMemory
from trainers.loop.device_memory import CONTEXT_BYTES

SIZES = st.integers(0, 200 * GIB)
KNOWN = st.builds(
    FamilyMemory,
    lanes=st.sampled_from(LEVELS), trials=st.integers(0, 2), peak_bytes=SIZES, total_bytes=SIZES,
    most=st.sampled_from(LEVELS),
)  # fmt: skip
ROOMS = st.builds(GpuRoom, gpus=st.integers(1, 16), lanes=st.integers(1, 64))
USES = st.builds(
    GpuUse,
    peak_bytes=SIZES, total_bytes=SIZES, lanes=st.sampled_from(LEVELS), full=st.booleans(),
)  # fmt: skip
WIDE = GpuRoom(gpus=1, lanes=64)


def known(peak: float, total: float = 24, **more: int) -> FamilyMemory:
    """A family of two trials that were measured, in GiB."""
    return FamilyMemory(
        **{"trials": 2, "peak_bytes": int(peak * GIB), "total_bytes": int(total * GIB), **more}
    )


def use(peak: float, lanes: int = 1, *, full: bool = False) -> GpuUse:
    """An attempt's, on a GPU of 24 GiB."""
    return GpuUse(peak_bytes=int(peak * GIB), total_bytes=24 * GIB, lanes=lanes, full=full)


@given(KNOWN, ROOMS, st.integers(0, 200))
def test_lanes_fit_memory_processors_and_trials(was: FamilyMemory, room: GpuRoom, left: int) -> None:
    lanes = decide_lanes(was, room, left)
    assert lanes in LEVELS
    assert lanes <= max(1, was.most)
    if lanes > 1:
        assert lanes * was.peak_bytes * MARGIN <= was.total_bytes
    if lanes > was.lanes:
        assert was.trials >= 2
        assert lanes <= room.lanes
        assert lanes <= math.ceil(left / room.gpus)


@given(KNOWN, ROOMS, st.integers(0, 200), USES)
def test_more_memory_or_a_full_gpu_never_makes_more_lanes(
    was: FamilyMemory, room: GpuRoom, left: int, told: GpuUse
) -> None:
    after = add_use(was, told, ended=False)
    if was.total_bytes and was.peak_bytes:  # something is known
        assert decide_lanes(after, room, left) <= decide_lanes(was, room, left)
    if told.full and told.lanes > 1:
        assert decide_lanes(after, room, left) <= told.lanes // 2


@given(st.lists(USES, min_size=1, max_size=6), st.randoms())
def test_order_in_which_lanes_tell_makes_no_difference(uses: list[GpuUse], random: object) -> None:
    def tell(told: list[GpuUse]) -> FamilyMemory:
        found = FamilyMemory()
        for one in told:
            found = add_use(found, one, ended=True)
        return found

    other = list(uses)
    random.shuffle(other)  # type: ignore[attr-defined]
    assert tell(uses) == tell(other)


@pytest.mark.parametrize(
    ("peak", "lanes"), [(2.4, 8), (2.5, 4), (3.1, 4), (4.8, 4), (4.81, 2), (9.6, 2), (9.61, 1), (30, 1)]
)
def test_margin_of_a_quarter_is_kept(peak: float, lanes: int) -> None:
    assert decide_lanes(known(peak), WIDE, 100) == lanes


@pytest.mark.parametrize(
    ("room", "left", "lanes"),
    [
        (WIDE, 100, 8),
        (GpuRoom(gpus=1, lanes=3), 100, 2),
        (GpuRoom(gpus=4, lanes=64), 12, 2),
        (GpuRoom(gpus=4, lanes=64), 13, 4),
        (GpuRoom(gpus=4, lanes=64), 4, 1),
    ],
)
def test_no_more_lanes_than_processors_and_trials_are_there_for(room: GpuRoom, left: int, lanes: int) -> None:
    assert decide_lanes(known(1), room, left) == lanes


def test_lanes_stay_while_trials_get_fewer_and_memory_suffices() -> None:
    assert decide_lanes(known(1, lanes=8), WIDE, 1) == 8
    assert decide_lanes(known(5, lanes=8), WIDE, 100) == 2


@pytest.mark.parametrize(("seconds", "lanes"), [(1.1, 1), (1.2, 8), (math.inf, 8)])
def test_lanes_do_not_begin_anew_for_what_is_done_sooner(seconds: float, lanes: int) -> None:
    """A hundred trials on two GPUs."""
    assert decide_lanes(known(1), GpuRoom(gpus=2, lanes=64), 100, seconds) == lanes
    assert decide_lanes(known(5, lanes=8), WIDE, 100, seconds) == 2  # memory is another matter


def test_nothing_left_asks_for_no_lanes() -> None:
    assert decide_lanes(known(1), WIDE, 0) == 1


def test_one_trial_is_not_enough_and_one_that_was_not_measured_counts_for_none() -> None:
    once = add_use(FamilyMemory(), use(1), ended=True)
    assert decide_lanes(once, WIDE, 100) == 1
    for other in (use(0), use(1, full=True)):
        assert decide_lanes(add_use(once, other, ended=not other.full), WIDE, 100) == 1
    assert decide_lanes(add_use(once, use(1.5), ended=True), WIDE, 100) == 8


def test_gpu_that_was_full_halves_once_for_all_lanes_on_it() -> None:
    found = known(1, lanes=8)
    for _ in range(3):
        found = add_use(found, use(1, 8, full=True), ended=False)
    assert decide_lanes(found, WIDE, 100) == 4
    assert add_use(known(1), use(23, 1, full=True), ended=False).most == 8  # alone: that trial's own


def test_words_say_why() -> None:
    assert describe_lanes(FamilyMemory()) == "1 lane a GPU, until trials have shown what they take"
    assert describe_lanes(known(3.1, lanes=4)) == (
        "4 lanes a GPU, the largest trial so far took 3.1 GiB of 24.0 GiB"
    )
    assert describe_lanes(known(3.1, trials=1)).endswith(
        "; 2 trials of each family are to have shown what they take"
    )
    assert describe_lanes(known(3.1, lanes=2, most=2)).endswith("of 24.0 GiB, and with 4 a GPU was full")
    assert "4 have room, but processors or trials are too few" in describe_lanes(known(3.1, lanes=2))


def test_facts_of_a_later_version_are_read() -> None:
    found = known(3.1, lanes=4)
    assert FamilyMemory.from_json({**found.to_json(), "why": "so", "new": "thing"}) == found
    assert FamilyMemory.from_json({}) == FamilyMemory()


@pytest.mark.parametrize(
    ("gpus", "lanes"), [(None, 1), (0.0, 1), (1.0, 1), (2.0, 1), (0.5, 2), (0.125, 8), (1 / 3, 3), (0.4, 2)]
)
def test_share_of_a_gpu_tells_how_many_have_it(gpus: float | None, lanes: int) -> None:
    assert lanes_of(gpus) == lanes


def test_use_is_what_was_reserved_and_a_context() -> None:
    assert measure_use(FakeMemory(), 2) == GpuUse(
        peak_bytes=3 * GIB + CONTEXT_BYTES, total_bytes=24 * GIB, lanes=2
    )


@pytest.mark.parametrize(
    "memory", [FakeMemory(used=False), FakeMemory(peak_reserved=0), FakeMemory(answers=False)]
)
def test_use_is_not_known_where_torch_has_not_used_the_gpu_or_it_does_not_answer(memory: FakeMemory) -> None:
    assert measure_use(memory, 4, full=True) == GpuUse(peak_bytes=0, total_bytes=0, lanes=4, full=True)
