"""Minutes of a sweep of people's own code while its lane, its driver or its command is killed.

    python tests/faults/chaos_kinds.py transformers           three minutes; no name: each kind in turn
    python tests/faults/chaos_kinds.py --together --trials 4  all kinds as families of one sweep

Every trial ends exactly once, no report is lost, each value is the best of all reports. The exit status is 1
where something of this does not hold.
"""

from __future__ import annotations

import argparse
import contextlib
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

STRIKES = ("lane", "lane", "child", "child", "driver")
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

    def _strike(self, at: float) -> None:
        there = [kind for kind in STRIKES if self._victims(kind)]
        self.kinds = there or STRIKES
        super()._strike(at)

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
        with contextlib.suppress(psutil.NoSuchProcess):
            found += children(psutil.Process(lane), kinds.SCRIPT)
    return found


def stage_kinds(folder: Path, chosen: Sequence[str], trials: int, pause_s: float) -> Stage:
    """A folder with the file of a sweep of some kinds, with so many trials of each."""
    stage = Stage(
        folder, {"SCRIPTED_SLEEP": str(pause_s), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    )
    stage.write(kinds.SCRIPT, kinds.SCRIPT_TEXT.format(pause=pause_s))
    stage.write(f"{NAME}.yaml", FILE % (trials, "".join(map(kinds.describe_family, chosen))))
    return stage


def damages(stage: Stage) -> list[str]:
    """What is wrong with the trials' reports and values."""
    said = []
    for trial in stage.trials(NAME):
        most = 1 if trial.family.endswith("sklearn") else kinds.EPOCHS
        what = kinds.explain_damage(trial.params, reports_of(stage, trial), trial.value, most)
        said += [f"{trial.family} {trial.number}: {what}"] if what else []
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


def run_kinds(chosen: Sequence[str], asked: argparse.Namespace) -> list[str]:
    """Some kinds under kills; what does not hold."""
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as name:
        stage = stage_kinds(Path(name), chosen, asked.trials, asked.sleep)
        chaos = KindChaos(stage, asked.every, random.Random(asked.seed))
        began = time.monotonic()
        try:
            chaos.run(asked.minutes)
            said = complaints(stage, asked.trials * len(chosen), None) + damages(stage)
        except (AssertionError, TimeoutError) as error:
            said = [str(error)]
        finally:
            chaos.end()
        _print(", ".join(chosen), stage, chaos, time.monotonic() - began, said)
    return said


def _print(name: str, stage: Stage, chaos: Chaos, took_s: float, said: Sequence[str]) -> None:
    trials = stage.trials(NAME)
    cells = [
        name, f"{took_s:.0f} s", str(dict(sorted(chaos.kills.items()))),
        str(dict(Counter(trial.state for trial in trials))),
        str(dict(sorted(Counter(trial.attempts for trial in trials).items()))),
        str(sum(len(reports_of(stage, trial)) for trial in trials)),
        "all" if not said else "FAILED: " + "; ".join(said),
    ]  # fmt: skip
    print("| " + " | ".join(cells) + " |", flush=True)


def main(words: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Own code of each kind under kills.")
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(kinds.NAMES)}; none: all")
    parser.add_argument("--together", action="store_true", help="as families of one sweep")
    parser.add_argument("--minutes", type=float, default=3.0, help="how long things are killed")
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--every", type=float, default=12.0, metavar="SECONDS", help="between two kills")
    parser.add_argument("--sleep", type=float, default=PAUSE_S, metavar="SECONDS", help="an epoch's length")
    parser.add_argument("--seed", type=int, default=0, help="of the kills")
    asked = parser.parse_args(words)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    names = asked.kinds or kinds.NAMES
    turns = [tuple(names)] if asked.together else [(name,) for name in names]
    said = [run_kinds(chosen, asked) for chosen in turns]
    return 1 if any(said) else 0


if __name__ == "__main__":
    sys.exit(main())
