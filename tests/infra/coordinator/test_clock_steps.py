"""A clock that is set back or forward between any two steps changes nothing of what is decided."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.coordinator.messages import EpochReport
from infra.ledger import views
from tests.infra.conftest import GOAL, Bench, Clock, drive, family, hello, sweep

STEPS_S = (-7_200.0, -1.0, 1.0, 7_200.0)


@pytest.mark.parametrize("step_s", STEPS_S)
@pytest.mark.parametrize("same_driver", [True, False])
def test_clock_step_between_two_attempts_leaves_the_newer_one_running(
    tmp_path: Path, step_s: float, same_driver: bool
) -> None:
    """The attempt that a new coordinator takes for the last one is the one with the highest ordinal."""
    bench = Bench(tmp_path, steady=Clock())
    coordinator = bench.begin(sweep(family(trials=1)))
    first = hello(pid=1)
    coordinator.register_lane(first)
    coordinator.next_attempts(first, ended=None)
    bench.clock.now += step_s
    coordinator = bench.take_over(token="driver-2")  # the first attempt waits again
    second = hello(pid=2)
    coordinator.register_lane(second)
    (assignment,) = coordinator.next_attempts(second, ended=None).attempts
    assert assignment.ordinal == 2
    coordinator = bench.take_over(same_driver=same_driver, token=None if same_driver else "driver-3")
    known = views.attempts(bench.ledger, bench.sweep_id, "noop", 0)
    assert [attempt.ordinal for attempt in known] == [1, 2]
    assert known[0].outcome == "driver-ended"
    report = EpochReport(epoch=1, metrics={GOAL: 0.5}, at=bench.clock())
    coordinator.register_lane(second)
    void = coordinator.heartbeat(second, assignment.attempt, [report]).void
    assert void is not same_driver  # the same driver's lane goes on, another's is not ours
    drive(coordinator, second)
    (trial,) = views.trials(bench.ledger, bench.sweep_id)
    assert (trial.state, trial.attempts) == ("complete", 3 if not same_driver else trial.attempts)
    bench.ledger.close()


@pytest.mark.parametrize("step_s", STEPS_S)
def test_clock_step_between_two_questions_keeps_the_order_of_the_line(tmp_path: Path, step_s: float) -> None:
    """Whoever takes over hands out what waits in the order in which it was asked for."""
    bench = Bench(tmp_path, steady=Clock())
    spec = sweep(family("b", trials=2), family("a", trials=2), family("c", trials=2))
    asked = []
    coordinator = bench.begin(spec)
    for place in range(6):
        me = hello(f"lane-{place}", pid=place + 1)
        coordinator.register_lane(me)
        (work,) = coordinator.next_attempts(me, ended=None).attempts
        asked.append((work.family, work.number))
        bench.clock.now += step_s
    coordinator = bench.take_over(token="driver-2")
    again = []
    for place in range(6):
        me = hello(f"lane-{place}", pid=place + 11)
        coordinator.register_lane(me)
        (work,) = coordinator.next_attempts(me, ended=None).attempts
        again.append((work.family, work.number))
    assert again == asked
    bench.ledger.close()
