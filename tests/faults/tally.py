"""What a sweep lost, did twice, left behind and wasted: counted from its ledger, its tracking and the
process table."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from infra.ledger.rows import TrialRow
from tests.faults.harness import Stage, Step, left_behind, table

ORPHAN_LIMIT_S = 90.0  # Ray's own agents live on for 61 s after a kill -9 of the driver


def count_lost(trials: Sequence[TrialRow], wanted: int) -> int:
    """Trials that were asked for and ended in no state, or failed without a reason."""
    good = [trial for trial in trials if trial.has_ended and (trial.state != "failed" or trial.reason)]
    return wanted - len(good)


def count_duplicated(stage: Stage, name: str) -> int:
    """Trials that ended twice, or that two processes trained at once, and trials with two runs in MLflow."""
    trials = stage.trials(name)
    twice = sum(count - 1 for count in stage.ends(name).values())
    at_once = sum(attempts_overlap(stage.steps(name, trial.number)) for trial in trials)
    children = [run for run in stage.tracking_runs(name) if run.parent is not None]
    return twice + at_once + max(0, len(children) - len(trials))


def attempts_overlap(steps: Sequence[Step]) -> bool:
    """Whether a process trained on after another had begun."""
    turns = [after.pid for before, after in pairwise(steps) if after.pid != before.pid]
    return len(turns) != len(set(turns)) or bool(turns and steps[0].pid in turns)


def count_orphaned(stage: Stage, name: str, limit_s: float = ORPHAN_LIMIT_S) -> int:
    """Rows and runs that are RUNNING, and processes that are there when the limit has passed."""
    rows = sum(trial.state == "running" for trial in stage.trials(name))
    rows += sum(attempt.ended_at is None for attempt in stage.attempts(name))
    runs = sum(run.status == "RUNNING" for run in stage.tracking_runs(name))
    return rows + runs + processes(stage.folder, limit_s)


def processes(folder: Path, limit_s: float = ORPHAN_LIMIT_S) -> int:
    """Processes of a home below the folder that are still there when the limit has passed."""
    deadline = time.monotonic() + limit_s
    while (found := left_behind(folder)) and time.monotonic() < deadline:
        time.sleep(0.5)
    if found:
        print("left behind:", *found, sep="\n  ")
    return len(found)


def wasted_share(stage: Stage, name: str) -> float:
    """Epochs trained more than once, over epochs needed, of a sweep of one scripted family."""
    trained = [[step.epoch for step in stage.steps(name, t.number)] for t in stage.trials(name)]
    needed = sum(len(set(epochs)) for epochs in trained)
    return (sum(map(len, trained)) - needed) / max(1, needed)


def count_differing(trials: Sequence[TrialRow], quiet: Sequence[tuple[Any, ...]]) -> int:
    """Trials that are not as in the quiet run."""
    return sum(row != expected for row, expected in zip(table(list(trials)), quiet, strict=True))


def tally_sweep(
    stage: Stage, name: str, wanted: int, *, quiet: Sequence[tuple[Any, ...]] | None = None
) -> dict[str, Any]:
    """The columns that every case of a scripted sweep shares, for `Outcome`."""
    trials = stage.trials(name)
    return {
        "lost": count_lost(trials, wanted),
        "duplicated": count_duplicated(stage, name),
        "orphaned": count_orphaned(stage, name),
        "silent": 0 if quiet is None else count_differing(trials, quiet),
        "wasted": wasted_share(stage, name),
    }
