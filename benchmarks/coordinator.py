"""What a trial costs beside its training: ask, start, report and finish, in a ledger on disk, without Ray.

    python benchmarks/coordinator.py [--trials 2000] [--sampler random] [--pruner none] [--reports 5]

Prints milliseconds a trial over windows of the sweep (process CPU time and wall time), so that growth with
the number of trials is seen, and how long a fresh coordinator needs to take the whole ledger over.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from pathlib import Path

from infra.coordinator.core import Coordinator
from infra.ledger.liveness import this_process
from infra.ledger.store import Ledger
from infra.protocol import Assignment, Ended, LaneHello, Report
from infra.spec import Budget, FamilySpec, Objective, SweepSpec
from search_spaces.space import Space

GOAL = "val/accuracy"
SPACE = {
    "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    "optimizer": {"type": "categorical", "choices": ["sgd", "adam", "rmsprop"]},
    "momentum": {"type": "float", "low": 0.0, "high": 0.99, "when": {"optimizer": ["sgd", "rmsprop"]}},
    "batch_size": {"type": "int", "low": 16, "high": 128, "log": True},
}


def sweep(trials: int, sampler: str, pruner: str, reports: int) -> SweepSpec:
    """A sweep of one family that trains nothing."""
    family = FamilySpec(
        name="noop",
        reference="noop",
        space=Space.from_mapping(SPACE).to_json(),
        trials=trials,
        budget=Budget(epochs=reports),
        sampler={"name": sampler},
        pruner={"name": pruner},
    )
    goals = (Objective(metric=GOAL, direction="maximize"),)
    return SweepSpec(name="bench", objectives=goals, families=(family,))


def attempt(
    coordinator: Coordinator, lane: LaneHello, work: Assignment, reports: int
) -> tuple[Ended, list[Report]]:
    """Makes up a learning curve and tells it as a lane would."""
    quality = 1.0 / (1.0 + abs(math.log10(work.params["learning_rate"]) + 2.5))
    held: list[Report] = []
    for epoch in range(1, reports + 1):
        held.append(Report(epoch=epoch, metrics={GOAL: quality * (1 - 0.5**epoch)}, at=time.time()))
        if epoch in work.deciding and not coordinator.decide(lane, work.attempt, held):
            return Ended(attempt=work.attempt, outcome="pruned"), []
    value = held[-1].metrics[GOAL]
    return Ended(attempt=work.attempt, outcome="complete", objective=(value,), epoch=reports), held


def main() -> None:
    """Runs the sweep and prints a line a window."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=2_000)
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--pruner", default="none")
    parser.add_argument("--reports", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(f"sqlite:///{Path(folder) / 'ledger.db'}", create=True)
        spec = sweep(options.trials, options.sampler, options.pruner, options.reports)
        sweep_id = ledger.create_sweep(spec, fingerprint="none", facts={}, at=time.time())
        epoch, _ = ledger.claim(sweep_id, this_process(), lambda owner: True)
        coordinator = Coordinator(ledger, sweep_id, epoch=epoch)
        lane = LaneHello(lane="lane-0", shape="1x1cpu", host="here", pid=1, pid_started_at=0.0)
        coordinator.enter(lane)
        ended, held, made = None, [], 0
        wall, cpu = time.perf_counter(), time.process_time()
        window = max(100, options.trials // 10)
        while (answer := coordinator.next_attempts(lane, ended=ended, reports=held)).attempts:
            ended, held = attempt(coordinator, lane, answer.attempts[0], options.reports)
            made += 1
            if made % window == 0:
                now, used = time.perf_counter(), time.process_time()
                print(
                    f"trials {made - window:>6} to {made:>6}: {(used - cpu) / window * 1e3:6.2f} ms CPU, "
                    f"{(now - wall) / window * 1e3:6.2f} ms wall a trial"
                )
                wall, cpu = now, used
        began = time.process_time()
        epoch, _ = ledger.claim(sweep_id, this_process(), lambda owner: True)
        Coordinator(ledger, sweep_id, epoch=epoch)
        print(f"taking over {made} trials: {time.process_time() - began:.2f} s CPU")


if __name__ == "__main__":
    main()
