"""Successive halving by promotion: trials that wait at a rung, go on when they are among the best, or end."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.coordinator.core import Coordinator
from infra.coordinator.messages import Assignment, AttemptResult, EpochReport, LaneHandshake
from infra.ledger import views
from infra.ledger.rows import TrialRow
from infra.spec import Budget, FamilySpec
from tests.infra.conftest import GOAL, Bench, family, hello, score, sweep

EPOCHS = 9
PAUSING = {"name": "asha", "min_epochs": 1, "reduction": 3, "resume": True}


def pausing(**changes: object) -> FamilySpec:
    defaults = {
        "trials": 9, "budget": Budget(epochs=EPOCHS), "sampler": {"name": "random"}, "pruner": PAUSING,
    }  # fmt: skip
    return family(**{**defaults, **changes})  # type: ignore[arg-type]


def train(coordinator: Coordinator, me: LaneHandshake, work: Assignment, begin: int = 0) -> AttemptResult:
    """Goes on from where the trial was paused, as a checkpoint lets it, until told to wait or done."""
    value = score(dict(work.params), EPOCHS)
    for epoch in range(begin + 1, EPOCHS + 1):
        reached = {GOAL: score(dict(work.params), epoch)}
        told = [EpochReport(epoch=epoch, metrics=reached, at=coordinator._clock())]
        if epoch not in work.deciding:
            coordinator.heartbeat(me, work.attempt, told)
        elif not coordinator.decide(me, work.attempt, told):
            assert work.pauses
            assert not coordinator.decide(me, work.attempt, told), "the answer changed"
            return AttemptResult(attempt=work.attempt, outcome="stopped", epochs=epoch)
    return AttemptResult(
        attempt=work.attempt, outcome="complete", objective=(value,), epoch=EPOCHS, epochs=EPOCHS,
        metrics={GOAL: value},
    )  # fmt: skip


def run_to_end(coordinator: Coordinator, bench: Bench, me: LaneHandshake, most: int = 100) -> int:
    """One lane; gives how many epochs were trained."""
    coordinator.register_lane(me)
    ended, trained = None, 0
    for _ in range(most):
        work = coordinator.next_attempts(me, ended=ended)
        if not work.attempts:
            break
        (one,) = work.attempts
        before = trials(bench)[one.number].epochs
        ended = train(coordinator, me, one, before)
        trained += ended.epochs - before
    coordinator.tick()
    return trained


def trials(bench: Bench) -> list[TrialRow]:
    return views.trials(bench.ledger, bench.sweep_id)


def test_paused_trials_go_on_when_they_are_among_the_best_and_end_when_nothing_comes(bench: Bench) -> None:
    coordinator = bench.begin(sweep(pausing(trials=18)))
    trained = run_to_end(coordinator, bench, hello())
    found = trials(bench)
    assert coordinator.state == "finished"
    assert {t.state for t in found} == {"complete", "pruned"}
    assert any(t.attempts > 1 for t in found), "no trial went on"
    assert trained < 18 * EPOCHS
    best = max(found, key=lambda t: score(dict(t.params), EPOCHS))
    assert best.state == "complete", "the best was left at a rung"
    pruned = [t for t in found if t.state == "pruned"]
    assert all(t.objective and t.metrics for t in pruned)
    kinds = [e.kind for e in views.events(bench.ledger, bench.sweep_id, limit=10_000)]
    assert kinds.count("ended") == 18
    assert all(t.state.is_finished() for t in coordinator._studies._studies["noop"].get_trials())  # type: ignore[union-attr]
    dropped = coordinator.take_dropped_folders()
    assert sorted(dropped) == sorted(f"try/noop/search-{t.number:04d}/checkpoints" for t in pruned)


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_sweep_with_paused_trials_ends_the_same_after_each_takeover(tmp_path: Path, sampler: str) -> None:
    tables = []
    for step in (100, 2):
        other = Bench(tmp_path / str(step))
        coordinator = other.begin(sweep(pausing(sampler={"name": sampler})))
        for pid in range(100, 200):
            run_to_end(coordinator, other, hello(pid=pid), step)
            if coordinator.state != "running":
                break
            coordinator = other.take_over(token=f"driver-{pid}")
        tables.append([(t.number, t.state, t.epochs, tuple(t.objective or ())) for t in trials(other)])
        other.ledger.close()
    assert tables[0] == tables[1]


def test_lane_that_dies_between_pausing_and_leaving_leaves_a_paused_trial(bench: Bench) -> None:
    """What it did not save is trained again if the trial goes on; the rung is not passed unseen."""
    coordinator = bench.begin(sweep(pausing(trials=4)))
    me = hello()
    coordinator.register_lane(me)
    ended = None
    while True:
        (work,) = coordinator.next_attempts(me, ended=ended).attempts
        ended = train(coordinator, me, work)
        if ended.outcome == "stopped":
            break
    coordinator.tick(alive=lambda lane: False)
    (paused,) = coordinator.book.paused_trials()
    assert (paused.number, paused.state) == (work.number, "waiting")


def test_stopped_sweep_keeps_its_paused_trials(bench: Bench) -> None:
    coordinator = bench.begin(sweep(pausing(trials=9)))
    run_to_end(coordinator, bench, hello(), 5)
    paused = [t.number for t in coordinator.book.paused_trials()]
    assert paused
    coordinator.stop("asked to")
    coordinator.conclude_stop()
    coordinator = bench.take_over(token="again")
    assert set(paused) <= {t.number for t in coordinator.book.paused_trials()}
    run_to_end(coordinator, bench, hello(pid=101))
    assert coordinator.state == "finished"
