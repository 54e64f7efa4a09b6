"""What the coordinator hands to people's own code, and when it asks the pruner about its reports."""

from __future__ import annotations

import pytest

from infra.coordinator.messages import EpochReport
from infra.ledger import views
from infra.search.study import Studies
from tests.infra.conftest import GOAL, Bench, family, hello, sweep


def report(bench: Bench, epoch: int, value: float) -> EpochReport:
    return EpochReport(epoch=epoch, metrics={GOAL: value}, at=bench.clock())


@pytest.mark.parametrize(("reference", "expected"), [("mine:train", {1: 0.9, 2: 0.1}), ("noop", {})])
def test_second_attempt_of_own_code_is_told_of_the_first_ones_reports(
    bench: Bench, reference: str, expected: dict[int, float]
) -> None:
    coordinator = bench.begin(sweep(family(trials=1, reference=reference, pruner={"name": "none"})))
    coordinator.register_lane(hello(pid=1))
    (first,) = coordinator.next_attempts(hello(pid=1)).attempts
    assert (first.earlier, first.earlier_seconds) == ({}, 0.0)
    coordinator.heartbeat(hello(pid=1), first.attempt, [report(bench, 1, 0.9), report(bench, 2, 0.1)])
    bench.clock.now += 7
    coordinator.tick(alive=lambda lane: False)
    coordinator = bench.take_over(same_driver=True)  # what it knows comes from the ledger
    coordinator.register_lane(hello(pid=2))
    (second,) = coordinator.next_attempts(hello(pid=2)).attempts
    assert {epoch: metrics[GOAL] for epoch, metrics in second.earlier.items()} == expected
    assert second.earlier_seconds == pytest.approx(7.0)


def test_report_that_a_heartbeat_told_of_is_judged_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(Studies, "should_prune", lambda self, name, number: asked.append(number) or False)
    coordinator = bench.begin(sweep(family(trials=1)))
    coordinator.register_lane(hello())
    (assignment,) = coordinator.next_attempts(hello()).attempts
    told = [report(bench, 1, 0.5)]
    coordinator.heartbeat(hello(), assignment.attempt, told)
    assert asked == []
    assert [coordinator.decide(hello(), assignment.attempt, told) for _ in range(2)] == [True, True]
    assert asked == [0]


def test_report_of_another_lane_for_an_attempt_does_not_count(bench: Bench) -> None:
    """By a heartbeat and with a question: the attempt's own lane alone tells of it."""
    coordinator = bench.begin(sweep(family(trials=2, pruner={"name": "asha", "min_epochs": 1})))
    own, other = hello("lane-0", pid=1), hello("lane-1", pid=2)
    for lane in (own, other):
        coordinator.register_lane(lane)
    (assignment,) = coordinator.next_attempts(own).attempts
    coordinator.heartbeat(other, assignment.attempt, [report(bench, 1, 0.9)])
    coordinator.decide(other, assignment.attempt, [report(bench, 2, 0.8)])
    assert [event.kind for event in views.events(bench.ledger, bench.sweep_id)].count("reported") == 0
    coordinator.heartbeat(own, assignment.attempt, [report(bench, 1, 0.1)])
    (told,) = [e for e in views.events(bench.ledger, bench.sweep_id) if e.kind == "reported"]
    assert told.payload["metrics"][GOAL] == 0.1
