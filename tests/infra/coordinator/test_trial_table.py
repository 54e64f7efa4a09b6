"""Who waits, how many may still be asked for, and which trials of a family have a model."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from infra.coordinator.trial_table import TrialTable, is_paused
from infra.ledger.broken_families import mark_outdated
from infra.ledger.rows import TrialRow
from tests.infra.conftest import family, sweep

SPEC = sweep(family("a", trials=3), family("b", trials=8))


def trial(number: int, of: str = "a", **changes: object) -> TrialRow:
    made = TrialRow(role="search", family=of, number=number, params={}, seed=0, created_at=float(number))
    return replace(made, **changes)  # type: ignore[arg-type]


def paused(number: int, epoch: int, of: str = "a") -> TrialRow:
    return trial(number, of, origin={"paused_at": epoch}, epochs=epoch, attempts=1)


def take_all(table: TrialTable) -> list[tuple[str, int]]:
    found = []
    while taken := table.take_waiting(lambda _: True):
        found.append((taken.family, taken.number))
    return found


def test_waiting_trials_of_a_ledger_are_in_line_as_they_were_asked_for_those_that_ran_first() -> None:
    trials = [
        trial(1, created_at=9.0), trial(0, "b", created_at=8.0, attempts=1), trial(0, created_at=7.0),
        trial(2, created_at=6.0, state="running"), trial(1, "b", created_at=5.0, state="failed"),
        trial(2, "b", created_at=9.0),
    ]  # fmt: skip
    table = TrialTable(SPEC, trials)
    assert table.trial_counts == {"a": 3, "b": 3}
    assert len(table.all_trials()) == 6
    assert {one.key for one in table.all_open_trials()} == {one.key for one in trials} - {trials[4].key}
    assert take_all(table) == [("b", 0), ("a", 0), ("a", 1), ("b", 2)]
    assert take_all(table) == []


def test_trial_that_does_not_fit_keeps_its_place_in_line() -> None:
    table = TrialTable(SPEC, [trial(0), trial(1), trial(0, "b", created_at=5.0)])
    taken = table.take_waiting(lambda one: one.family == "b")
    assert taken is not None
    assert taken.key == ("search", "b", 0)
    assert table.take_waiting(lambda one: one.family == "b") is None
    assert take_all(table) == [("a", 0), ("a", 1)]


def test_fresh_trials_are_those_that_never_ran() -> None:
    table = TrialTable(SPEC, [trial(0, attempts=1), trial(1)])
    assert not table.has_fresh(lambda one: one.number == 0)
    assert table.has_fresh(lambda one: one.number == 1)


def test_trial_asked_for_now_is_the_newest_though_the_clock_was_set_back() -> None:
    table = TrialTable(SPEC, [trial(0, created_at=50.0), trial(1, created_at=40.0)])
    assert table.next_time(60.0) == 60.0
    assert table.next_time(40.0) == math.nextafter(50.0, math.inf)
    table.add(trial(2, created_at=70.0))
    assert table.next_time(60.0) == math.nextafter(70.0, math.inf)
    table.add(trial(0, "b", created_at=60.0))
    assert 70.0 < table.next_time(60.0) < 70.001
    assert TrialTable(SPEC, []).next_time(0.5) == 0.5


def test_added_trial_is_known_and_open_and_not_in_line() -> None:
    table, made = TrialTable(SPEC, []), trial(0)
    assert table.find("a", 0) is None
    table.add(made)
    assert (table.find("a", 0), table.open_trials("a")) == (made, [made])
    assert take_all(table) == []


def test_paused_trials_are_out_of_line_the_highest_rungs_first() -> None:
    trials = [paused(3, 1), paused(1, 9), paused(0, 9), paused(2, 3), paused(5, 9, "b"), trial(6, attempts=1)]
    table = TrialTable(SPEC, trials)
    assert [is_paused(one) for one in trials] == [True] * 5 + [False]
    assert not is_paused(trial(0, origin={"paused_at": None}))
    assert [one.number for one in table.paused_trials()] == [0, 1, 5, 2, 3]
    assert [one.number for one in table.paused_trials("a")] == [0, 1, 2, 3]
    assert [one.number for one in table.moving_trials("a")] == [6]
    assert {one.number for one in table.open_trials("a")} == {0, 1, 2, 3, 6}
    assert take_all(table) == [("a", 6)]
    trials[2].origin = None
    table.resume(trials[2])
    assert [one.number for one in table.paused_trials("a")] == [1, 2, 3]
    assert take_all(table) == [("a", 0)]
    table.forget_paused(trials[1])
    assert [one.number for one in table.paused_trials("a")] == [2, 3]
    assert take_all(table) == []


def test_trial_that_is_tried_again_is_open_again() -> None:
    table = TrialTable(SPEC, [trial(0, state="failed", attempts=1)])
    assert table.open_trials("a") == []
    (again,) = table.all_trials()
    again.state = "waiting"
    table.queue(again)
    assert table.open_trials("a") == table.moving_trials("a") == [again]
    assert take_all(table) == [("a", 0)]


def test_trials_with_a_model_are_those_whose_model_is_kept_now() -> None:
    made = [trial(0, state="complete", model="m0"), trial(1, state="complete"), trial(0, "b", model="m")]
    table = TrialTable(SPEC, made)
    assert table.trials_with_model("a") == made[:1]
    made[1].model = "m1"
    table.record_model(made[1])
    assert table.trials_with_model("a") == made[:2]
    made[0].model = None
    table.record_model(made[0])
    table.record_model(made[0])
    assert table.trials_with_model("a") == made[1:2]


def test_family_may_have_as_many_trials_as_its_quota() -> None:
    table = TrialTable(SPEC, [trial(0), trial(1)])
    assert (table.count_to_ask("a"), table.count_to_ask("b")) == (1, 8)
    table.set_quota("a", 2)
    assert table.count_to_ask("a") == 0
    table.set_quota("a", 1)
    assert table.count_to_ask("a") == 0
    table.set_quota("a", 5)
    assert table.count_to_ask("a") == 3
    assert TrialTable(SPEC, [trial(0)], asks=False).count_to_ask("a") == 0


@pytest.mark.parametrize(("mended", "broken"), [((), True), (("b",), False), (("a",), True)])
def test_broken_family_may_have_none_until_it_is_mended(mended: tuple[str, ...], broken: bool) -> None:
    failed = [trial(n, "b", state="failed", reason="error: x", ended_at=50.0) for n in range(5)]
    mark_outdated(failed, mended)
    table = TrialTable(SPEC, failed)
    assert table.is_family_broken("b") is broken
    assert not table.is_family_broken("a")
    assert table.count_to_ask("b") == (0 if broken else 3)
