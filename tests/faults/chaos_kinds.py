"""Minutes of a sweep of one kind of people's own code while its lane, its driver or its command is killed.

    python tests/faults/chaos_kinds.py transformers           three minutes; no name: each kind in turn

Every trial ends exactly once, no report is lost, each value is the best of all reports. The exit status is 1
where something of this does not hold.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from infra.ledger import views
from infra.ledger.rows import TrialRow
from tests.faults import kinds
from tests.faults.chaos import NAME, Chaos, complaints
from tests.faults.harness import Stage, children

TRIALS = 40
PAUSE_S = 0.6
FILE = f"""
name: {NAME}
data: {{source: none}}
objective: {{metric: accuracy}}
budget: {{trials: %d, epochs: {kinds.EPOCHS}}}
search: {{sampler: tpe, pruner: {{name: asha, min_epochs: 2, reduction: 2}}}}
resources: {{lanes: 1}}
families:
%s"""


class KindChaos(Chaos):
    """Kills what runs a trial: with the driver, which takes long to come up, only once a lane is there."""

    def _victims(self, kind: str) -> list[int]:
        assert self.driver is not None
        lanes = sorted(process.pid for process in children(self.driver, "ray::RayTrainWorker"))
        if kind == "lane" or not lanes:
            return lanes
        if kind == "driver":
            return [self.driver.pid]
        return [process.pid for process in _scripts(lanes)]


def _scripts(lanes: Sequence[int]) -> list[psutil.Process]:
    """Processes of the command below the lanes."""
    found = []
    for lane in lanes:
        try:
            below = psutil.Process(lane).children(recursive=True)
            found += [process for process in below if kinds.SCRIPT in process.cmdline()]
        except psutil.NoSuchProcess:
            continue
    return found


def stage_kind(folder: Path, kind: str, trials: int, pause_s: float) -> Stage:
    """A folder with the file of a sweep of one kind."""
    stage = Stage(
        folder, {"SCRIPTED_SLEEP": str(pause_s), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    )
    stage.write(kinds.SCRIPT, kinds.SCRIPT_TEXT.format(pause=pause_s))
    stage.write(f"{NAME}.yaml", FILE % (trials, kinds.describe_families(kind)))
    return stage


def damages(stage: Stage, kind: str) -> list[str]:
    """What is wrong with the trials' reports and values."""
    most = 1 if kind == "sklearn" else kinds.EPOCHS
    said = []
    for trial in stage.trials(NAME):
        what = kinds.explain_damage(trial.params, reports_of(stage, trial), trial.value, most)
        said += [f"trial {trial.number}: {what}"] if what else []
    return said


def reports_of(stage: Stage, trial: TrialRow) -> list[float]:
    """What a trial told, by the numbers of its reports.

    Raises:
        AssertionError: one has another number than the next.
    """
    ledger = stage.ledger()
    try:
        told = views.trial_events(ledger, stage.sweep(NAME).id, trial, "reported")
    finally:
        ledger.close()
    found = {int(event.payload["epoch"]): float(event.payload["metrics"]["val/accuracy"]) for event in told}
    assert sorted(found) == list(range(1, len(found) + 1)), (
        f"trial {trial.number} has reports {sorted(found)}"
    )
    return [found[number] for number in sorted(found)]


def run_kind(kind: str, asked: argparse.Namespace) -> list[str]:
    """One kind under kills; what does not hold."""
    strikes = ("lane", "child", "driver") if kind == "command" else ("lane", "lane", "driver")
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as name:
        stage = stage_kind(Path(name), kind, asked.trials, asked.sleep)
        chaos = KindChaos(stage, asked.every, random.Random(asked.seed), kinds=strikes)
        began = time.monotonic()
        try:
            chaos.run(asked.minutes)
            said = complaints(stage, asked.trials, None) + damages(stage, kind)
        except (AssertionError, TimeoutError) as error:
            said = [str(error)]
        finally:
            chaos.end()
        _print(kind, stage, chaos, time.monotonic() - began, said)
    return said


def _print(kind: str, stage: Stage, chaos: Chaos, took_s: float, said: Sequence[str]) -> None:
    trials = stage.trials(NAME)
    cells = [
        kind, f"{took_s:.0f} s", str(dict(sorted(chaos.kills.items()))),
        str(dict(Counter(trial.state for trial in trials))),
        str(dict(sorted(Counter(trial.attempts for trial in trials).items()))),
        str(sum(max(0, len(reports_of(stage, trial))) for trial in trials)),
        "all" if not said else "FAILED: " + "; ".join(said),
    ]  # fmt: skip
    print("| " + " | ".join(cells) + " |", flush=True)


def main(words: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Own code of each kind under kills.")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(kinds.NAMES)}; none: all")
    parser.add_argument("--minutes", type=float, default=3.0, help="how long things are killed")
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--every", type=float, default=12.0, metavar="SECONDS", help="between two kills")
    parser.add_argument("--sleep", type=float, default=PAUSE_S, metavar="SECONDS", help="an epoch's length")
    parser.add_argument("--seed", type=int, default=0, help="of the kills")
    asked = parser.parse_args(words)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    failed = [kind for kind in asked.kinds or kinds.NAMES if run_kind(kind, asked)]
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
