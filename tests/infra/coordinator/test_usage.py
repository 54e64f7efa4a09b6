"""What a sweep has used, and what a trial's value is when it ends before its time."""

from __future__ import annotations

from infra.coordinator.messages import AttemptResult, EpochReport
from infra.coordinator.policy import objective_so_far
from infra.coordinator.usage import BudgetUsage
from infra.ledger import views
from infra.spec import Resources
from tests.infra.conftest import GOAL, Bench, family, hello, sweep


def test_gpu_and_processor_seconds_count_every_worker() -> None:
    usage = BudgetUsage({"gpu_s": 5.0}, now=10.0)
    usage.add_time(
        12.0, [Resources(workers=3, cpus=2.0, gpus=0.5), Resources(workers=1, cpus=1.0, gpus=None)]
    )
    assert usage.used == {"elapsed_s": 2.0, "gpu_s": 5.0 + 2 * 3 * 0.5, "cpu_s": 2 * (3 * 2.0 + 1.0)}


def test_time_is_counted_from_the_last_count_on() -> None:
    usage = BudgetUsage({}, now=10.0)
    for now in (12.0, 12.0, 15.0):
        usage.add_time(now, [])
    assert usage.used == {"elapsed_s": 5.0, "gpu_s": 0.0, "cpu_s": 0.0}


def test_numbers_are_written_down_when_five_seconds_have_passed_since_the_last_time() -> None:
    usage = BudgetUsage({}, now=10.0)
    due = [usage.is_save_due(now) for now in (12.0, 15.0, 15.5, 16.0, 20.5, 20.6, 25.7)]
    assert due == [False, False, True, False, False, True, True]


def test_earlier_of_two_equal_epochs_is_the_best() -> None:
    reports = {1: {GOAL: 0.2}, 2: {GOAL: 0.7}, 3: {GOAL: 0.7}}
    assert objective_so_far(sweep().objectives, reports) == (2, [0.7])


def test_trial_that_fails_keeps_the_value_that_it_had(bench: Bench) -> None:
    coordinator = bench.begin(sweep(family(trials=1, pruner={"name": "none"})))
    coordinator.register_lane(hello())
    (assignment,) = coordinator.next_attempts(hello()).attempts
    coordinator.heartbeat(hello(), assignment.attempt, [EpochReport(epoch=1, metrics={GOAL: 0.7}, at=1.0)])
    failed = AttemptResult(attempt=assignment.attempt, outcome="failed", reason="error", detail="told to")
    coordinator.next_attempts(hello(), ended=failed)
    (trial,) = views.trials(bench.ledger, bench.sweep_id)
    assert (trial.state, trial.objective, trial.epoch) == ("failed", [0.7], 1)
