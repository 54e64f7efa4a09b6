"""What must not grow with the number of trials: counted in operations, which no busy machine changes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest

from infra.coordinator.core import Coordinator
from infra.ledger import views
from infra.ledger.follower import TrialFollower
from infra.spec import Budget
from tests.infra.conftest import Bench, drive, family, hello, run_attempt, sweep

WINDOW = 12
MANY = 2_000
ASHA = {"name": "asha", "min_epochs": 1, "reduction": 2}


@contextmanager
def opcodes() -> Iterator[Callable[[], int]]:
    """Counts the bytecode instructions that run within the block, those of comprehensions too."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    former = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lambda: count
    finally:
        sys.settrace(former)


def one_more(coordinator: Coordinator, ended: Any) -> Any:
    """A trial from its start to its end, and what is asked about the sweep some times a second."""
    work = coordinator.next_attempts(hello(), ended=ended)
    done = run_attempt(coordinator, work, hello(), epochs=4)
    coordinator.tick()
    assert coordinator.demand
    return done


def test_trial_costs_the_coordinator_the_same_after_two_thousand(bench: Bench) -> None:
    """Instructions a trial, its reports, its decisions and the looks at the sweep together."""
    growing = family(trials=10 * MANY, budget=Budget(epochs=4), sampler={"name": "random"}, pruner=ASHA)
    coordinator = bench.begin(sweep(growing))
    coordinator.register_lane(hello())
    ended, cost = None, {}
    for made in range(MANY + WINDOW):
        if made in (100, MANY):
            with opcodes() as count:
                for _ in range(WINDOW):
                    ended = one_more(coordinator, ended)
            cost[made] = count() / WINDOW
        else:
            ended = one_more(coordinator, ended)
    assert cost[MANY] < 1.15 * cost[100], cost


def test_ledger_follower_reads_only_what_has_changed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has what the ledger has, at each look, and asks for the trials of new events alone."""
    read: list[int] = []
    whole = views.trials_by_key

    def counted(*args: Any) -> list[Any]:
        found = whole(*args)
        read.append(len(found))
        return found

    monkeypatch.setattr(views, "trials_by_key", counted)
    coordinator = bench.begin(sweep(family(trials=40, sampler={"name": "random"}, pruner={"name": "none"})))
    follower = TrialFollower(bench.ledger, bench.sweep_id, "search")
    for most in (30, 3, 1):
        drive(coordinator, hello(), most=most)
        shown = [(t.number, t.state, t.objective) for t in follower.trials()]
        assert shown == [(t.number, t.state, t.objective) for t in views.trials(bench.ledger, bench.sweep_id)]
    assert read[0] >= 30
    assert max(read[1:]) <= 6
    follower.trials()
    assert read[-1] == 0
