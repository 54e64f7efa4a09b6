"""Slots, who holds them, and who has not been heard for too long."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.coordinator.lane_table import DEAF_S, PROCESS_ENDED, LaneTable, run_of_lane
from infra.coordinator.messages import LaneHandshake
from tests.infra.conftest import Clock, hello

LEASE_S = 15.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table(clock: Clock) -> LaneTable:
    return LaneTable(clock)


def look(table: LaneTable, alive: bool = True) -> list[tuple[str, int, str]]:
    found = table.expire_lanes(LEASE_S, lambda process: alive)
    return [(gone.lane, gone.pid, why) for gone, why in found]


def pass_time(table: LaneTable, clock: Clock, seconds: float) -> None:
    """In steps in which the coordinator listens."""
    while seconds > 0:
        clock.now += min(seconds, 1.0)
        seconds -= 1.0
        assert look(table) == []


def test_slot_is_the_last_registered_processs_and_says_whether_another_had_it(table: LaneTable) -> None:
    assert (len(table), table.holder("a")) == (0, None)
    assert table.register(hello("a", 1))  # what ran there under a former coordinator is gone
    assert not table.register(hello("a", 1))
    assert table.register(hello("a", 2))
    assert (len(table), table.holder("a")) == (1, hello("a", 2))


@pytest.mark.parametrize("change", [{"pid": 9}, {"host": "x"}, {"pid_started_at": 9.0}])
def test_process_that_lost_its_slot_is_not_let_in(table: LaneTable, change: dict[str, object]) -> None:
    former = hello("a", 1)
    table.register(former)
    table.register(replace(former, **change))  # type: ignore[arg-type]
    assert not table.admit(former)
    assert table.holder("a") == replace(former, **change)  # type: ignore[arg-type]


def test_unknown_lane_is_let_in_where_its_slot_is_free(table: LaneTable) -> None:
    assert table.admit(hello("a", 1))
    assert table.admit(hello("a", 1))
    assert not table.admit(hello("a", 2))
    table.remove("a")
    table.remove("a")
    assert table.admit(hello("a", 2))


def test_process_that_was_given_up_is_never_let_in_and_its_slot_is_free(table: LaneTable) -> None:
    table.register(hello("a", 1))
    table.give_up(hello("a", 1))
    assert (len(table), table.admit(hello("a", 1))) == (0, False)
    assert table.admit(hello("a", 2))
    assert table.take_lost() == [hello("a", 1)]
    assert table.take_lost() == []


def test_process_that_is_given_up_after_it_lost_its_slot_leaves_the_slot_to_the_other(
    table: LaneTable,
) -> None:
    table.register(hello("a", 1))
    table.register(hello("a", 2))
    table.give_up(hello("a", 1))
    assert table.holder("a") == hello("a", 2)
    table.give_up(hello("b", 3))  # nobody has that slot
    assert len(table) == 1
    assert [process.pid for process in table.take_lost()] == [1, 3]


@pytest.mark.parametrize("heard_by", ["register", "admit"])
def test_lane_is_lost_when_it_was_silent_for_longer_than_its_lease(
    table: LaneTable, clock: Clock, heard_by: str
) -> None:
    table.register(hello("a", 1))
    table.register(hello("b", 2))
    pass_time(table, clock, 10.0)
    getattr(table, heard_by)(hello("b", 2))
    pass_time(table, clock, 5.0)  # to the second
    clock.now += 0.5
    assert look(table) == [("a", 1, "no heartbeat for 16 s (limits.lease)")]
    assert not table.admit(hello("a", 1))
    assert (table.holder("a"), table.holder("b")) == (None, hello("b", 2))
    assert table.take_lost() == [hello("a", 1)]


def test_process_that_is_gone_frees_its_slot_at_once_and_need_not_be_ended(table: LaneTable) -> None:
    table.register(hello("a", 1))
    assert look(table, alive=False) == [("a", 1, PROCESS_ENDED)]
    assert (len(table), table.take_lost()) == (0, [])


@pytest.mark.parametrize(("away_s", "lost"), [(DEAF_S, True), (DEAF_S + 0.1, False)])
def test_lanes_are_not_blamed_for_silence_while_nobody_listened(
    table: LaneTable, clock: Clock, away_s: float, lost: bool
) -> None:
    table.register(hello("a", 1))
    pass_time(table, clock, LEASE_S - 1)
    clock.now += away_s
    assert bool(look(table)) is lost
    if not lost:  # and its lease begins anew
        pass_time(table, clock, LEASE_S)
        clock.now += 1.0
        assert look(table)


def test_table_that_was_made_long_before_its_first_look_blames_nobody(clock: Clock) -> None:
    table = LaneTable(clock)
    clock.now += 1.0
    table.register(hello("a", 1))
    clock.now += 60.0
    assert look(table) == []


def test_lanes_are_counted_by_the_run_in_their_names(table: LaneTable) -> None:
    for name in ("sweep-1-0", "sweep-1-1", "sweep-2-0"):
        table.register(LaneHandshake(lane=name, shape="", host="h", pid=len(name), pid_started_at=0.0))
    assert table.count_by_run() == {"sweep-1": 2, "sweep-2": 1}
    assert run_of_lane("sweep-2-10") == "sweep-2"


def test_process_that_lost_its_slot_stays_out_when_the_slot_is_free_again(table: LaneTable) -> None:
    table.register(hello("a", 1))
    table.register(hello("a", 2))
    assert look(table, alive=False) == [("a", 2, PROCESS_ENDED)]
    assert not table.admit(hello("a", 1))
    assert table.admit(hello("a", 3))
