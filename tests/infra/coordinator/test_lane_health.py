"""Which lanes are at fault, by what they and others made of the same families."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.coordinator.lane_health import LaneHealth, may_spare, node_of, note_spoilt
from infra.ledger.rows import TrialRow
from tests.infra.conftest import hello

BAD, GOOD, OTHER = hello("bad", 1), hello("good", 2), hello("other", 3)


def trial(number: int, family: str = "a") -> TrialRow:
    return TrialRow(role="search", family=family, number=number, params={}, seed=0)


def health_after(ends: str) -> LaneHealth:
    """Ends in their order: of the bad lane `!` (a failure of family a), `?` (one of b), `.` (a success);
    of others `a` and `b` (successes), `A` and `B` (failures)."""
    health = LaneHealth()
    for number, end in enumerate(ends):
        if end in "!?":
            health.note_error(BAD, trial(number, "b" if end == "?" else "a"))
        elif end == ".":
            health.note_success(BAD, "a")
        elif end in "ab":
            health.note_success(GOOD, end)
        else:
            health.note_error(OTHER, trial(number, end.lower()))
    return health


@pytest.mark.parametrize(
    ("ends", "sick"),
    [
        ("aa!!!", True),
        ("!!!aa", True),
        ("aa!!", False),
        ("a!!!", False),
        ("aa!!!!!", True),
        ("aa!!.!", False),
        ("aa.!!!", True),
        ("!!!..", False),
        ("...!!!", False),  # what it made itself says nothing
        ("aaA!!!", False),  # three successes a failure of others
        ("aaaA!!!", True),
        ("aaaaaAA!!!", False),
        ("aaaaaaAA!!!", True),
        ("aa!!?", False),  # of the other family nobody knows
        ("aabb!!?", True),
        ("aab!!?", False),
        ("aabbbB!!?", True),
        ("aabbB!!?", False),
        ("bb!!!", False),
    ],
)
def test_lane_is_sick_where_others_succeed_in_each_family_of_its_last_failures(ends: str, sick: bool) -> None:
    found = health_after(ends).find_sick()
    assert [one.process for one in found] == ([BAD] if sick else [])


def test_sick_lane_brings_the_trials_that_it_failed_since_it_last_succeeded() -> None:
    (found,) = health_after("aa!.!!!").find_sick()
    assert [one.number for one in found.trials] == [4, 5, 6]


def test_forgotten_lane_begins_anew_and_no_longer_blames_its_families() -> None:
    health = health_after("aaA!!!")
    health.forget(replace(OTHER, lane="whatever"))  # a process is known by host, number and start
    assert [one.process for one in health.find_sick()] == [BAD]
    health.forget(BAD)
    health.forget(BAD)
    assert health.find_sick() == []
    health.note_error(BAD, trial(9))
    assert health.find_sick() == []


@pytest.mark.parametrize("change", [{"pid": 9}, {"host": "x"}, {"pid_started_at": 9.0}])
def test_another_process_in_the_same_slot_is_not_blamed_for_the_former(change: dict[str, object]) -> None:
    health = health_after("aa!!")
    health.note_error(replace(BAD, **change), trial(9))  # type: ignore[arg-type]
    assert health.find_sick() == []


def test_trial_is_spared_twice_and_keeps_what_else_its_origin_says() -> None:
    spoilt = trial(0)
    spoilt.origin = {"number": 7}
    spared = []
    for _ in range(3):
        spared.append(may_spare(spoilt))
        note_spoilt(spoilt)
    assert spared == [True, True, False]
    assert spoilt.origin == {"number": 7, "spoilt": 3}
    fresh = trial(1)
    assert may_spare(fresh)
    note_spoilt(fresh)
    assert fresh.origin == {"spoilt": 1}


def test_node_of_a_lane_is_what_it_says_or_its_host() -> None:
    assert node_of(replace(BAD, facts={"node": "n1"})) == "n1"
    assert node_of(replace(BAD, facts={"node": ""})) == node_of(BAD) == "h"
