"""Minutes of a sweep while something of it is killed every few seconds, and what stands at the end.

    python tests/faults/chaos.py                       two lanes, ten minutes, 300 trials
    python tests/faults/chaos.py --lanes 1 --seed 4    and the table must be that of a run without kills
    python tests/faults/chaos.py --clock               the clock is set among the kills, too
    python tests/faults/chaos.py --postgres            with a ledger in PostgreSQL

Every trial ends exactly once, MLflow has one run a trial below one parent, nothing is left behind. The exit
status is 1 where something of this does not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from infra.errors import LedgerUnavailable
from tests.faults import tally
from tests.faults.clock import STEPS_S, SteppedClock
from tests.faults.harness import ROOT, Stage, check_tracking, children, kill, table
from tests.postgres import run_postgres

NAME = "chaos"
FILE = """
name: chaos
seed: {seed}
data: {{source: none}}
objective: {{metric: accuracy, direction: maximize}}
budget: {{trials: {trials}, epochs: 5}}
search: {{sampler: tpe, pruner: {{name: asha, min_epochs: 1, reduction: 2}}}}
resources: {{lanes: {lanes}}}
checkpoint: {{every: 1 epoch}}
families:
  tests.faults.scripted:train:
    space:
      learning_rate: {{type: float, low: 1.0e-5, high: 1.0e-1, log: true}}
      optimizer: {{type: categorical, choices: [sgd, adam]}}
      momentum: {{type: float, low: 0, high: 0.9, when: {{optimizer: sgd}}}}
code: {{root: {root}}}
"""
KINDS = ("lane", "coordinator", "driver")
CLOCK = "clock"  # is set, and nothing is killed
LEDGER = "CHAOS_LEDGER"
QUIET_END_S = 300.0  # without kills, what is left must be done within this time


@dataclass
class Chaos:
    """One sweep under kills."""

    stage: Stage
    every_s: float
    random: random.Random
    clock: SteppedClock | None = None
    kinds: Sequence[str] = KINDS
    kills: Counter[str] = field(default_factory=Counter)
    exits: Counter[int] = field(default_factory=Counter)
    said: list[str] = field(default_factory=list)
    driver: subprocess.Popen[str] | None = None

    def run(self, minutes: float) -> None:
        """Kills until the time is over or the sweep is, then lets the rest of it be done.

        Raises:
            TimeoutError: the rest was not done in its time.
        """
        began = time.monotonic()
        due = began + self.every_s
        self._start()
        while not self._over():
            now = time.monotonic()
            if now > began + minutes * 60 + QUIET_END_S:
                raise TimeoutError(f"{QUIET_END_S:.0f} s after the last kill the sweep still runs")
            if due < now < began + minutes * 60:
                due = now + self.every_s
                self._strike(now - began)
            time.sleep(0.2)

    def _start(self) -> None:
        log = (self.stage.folder / "driver.txt").open("a")
        self.driver = self.stage.start("sweep", f"{NAME}.yaml", output=log)
        log.close()

    def _over(self) -> bool:
        assert self.driver is not None
        status = self.driver.poll()
        if status is None:
            return False
        self.exits[status] += 1
        if status != 0 and status != -signal.SIGKILL:
            raise AssertionError(f"the driver ended with {status}: {self._last_words()}")
        if status == -signal.SIGKILL:
            self._start()
            return False
        return True

    def end(self) -> None:
        """Ends the command, where it still runs."""
        if self.driver is not None and self.driver.poll() is None:
            self.driver.kill()
            self.driver.wait(60)

    def _last_words(self) -> str:
        return " / ".join((self.stage.folder / "driver.txt").read_text().strip().splitlines()[-5:])

    def _strike(self, at: float) -> None:
        assert self.driver is not None
        kind = self.random.choice(self.kinds if self.clock is None else (*self.kinds, CLOCK))
        if kind == CLOCK and self.clock is not None:
            self._set_clock(self.clock, at)
            return
        victims = self._victims(kind)
        if not victims:  # nothing of that kind is up just now
            self.kills[f"no {kind} to kill"] += 1
            return
        victim = self.random.choice(victims)
        self._tell(at, f"kill -9 {kind} ({victim})")
        kill(victim)
        self.kills[kind] += 1

    def _set_clock(self, clock: SteppedClock, at: float) -> None:
        seconds = self.random.choice(STEPS_S)
        self._tell(at, f"the clock is set by {seconds:+} s")
        clock.step(seconds)
        self.kills[CLOCK] += 1

    def _tell(self, at: float, what: str) -> None:
        ended = 0
        with contextlib.suppress(LedgerUnavailable):  # not made yet
            ended = sum(trial.has_ended for trial in self.stage.trials(NAME))
        print(f"{at:6.1f} s  {ended:3} ended  {what}", flush=True)

    def _victims(self, kind: str) -> list[int]:
        assert self.driver is not None
        if kind == "driver":
            return [self.driver.pid]
        title = {"lane": "ray::RayTrainWorker", "coordinator": "ray::CoordinatorActor"}[kind]
        return sorted(process.pid for process in children(self.driver, title))


def complaints(stage: Stage, trials: int, quiet: Sequence[tuple[Any, ...]] | None) -> list[str]:
    """What does not hold after the sweep's end."""
    found = stage.trials(NAME)
    counts = {
        "trials lost": tally.count_lost(found, trials),
        "trials too many": max(0, len(found) - trials),
        "trials ended or trained twice at once": tally.count_duplicated(stage, NAME),
        "left behind": tally.count_orphaned(stage, NAME),
        "trials failed": sum(trial.state == "failed" for trial in found),
        "trials unlike the quiet run's": 0 if quiet is None else tally.count_differing(found, quiet),
    }
    said = [f"{count} {what}" for what, count in counts.items() if count]
    try:
        check_tracking(stage, NAME)
    except (AssertionError, ValueError) as error:
        said.append(f"MLflow has not one run a trial and one parent: {error}")
    return said


def stage_sweep(folder: Path, asked: argparse.Namespace, url: str = "") -> Stage:
    """A folder with the sweep's file.

    Args:
        url: of its ledger; empty: the embedded one.
    """
    stage = Stage(folder, {"SCRIPTED_SLEEP": str(asked.sleep)}, ledger_url=url)
    text = FILE.format(seed=asked.seed, trials=asked.trials, lanes=asked.lanes, root=ROOT)
    if url:
        stage.environment[LEDGER] = url
        text += f"ledger: ${{{LEDGER}}}\n"
    stage.write(f"{NAME}.yaml", text)
    return stage


@contextlib.contextmanager
def _folder(asked: Path | None) -> Iterator[Path]:
    if asked is not None:
        yield asked.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextlib.contextmanager
def _ledger(in_postgres: bool) -> Iterator[str]:
    """The URL of a database of its own server; empty where the embedded one does."""
    if not in_postgres:
        yield ""
        return
    with run_postgres() as server:
        yield server.database()


def quiet_table(folder: Path, asked: argparse.Namespace) -> list[tuple[Any, ...]]:
    """The table of the same sweep when nothing is killed."""
    stage = stage_sweep(folder, asked)
    stage.environment["SCRIPTED_SLEEP"] = "0"
    done = stage.run("sweep", f"{NAME}.yaml", limit_s=600)
    assert done.returncode == 0, done.stderr
    return table(stage.trials(NAME))


def main(words: Sequence[str] | None = None) -> int:
    """The command."""
    asked = _parser().parse_args(words)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    with _folder(asked.folder) as folder, _ledger(asked.postgres) as url:
        quiet = quiet_table(folder / "quiet", asked) if asked.lanes == 1 else None
        stage = stage_sweep(folder / "killed", asked, url)
        clock = SteppedClock(folder) if asked.clock else None
        stage.environment |= clock.environment if clock else {}
        chaos = Chaos(stage, asked.every, random.Random(asked.seed), clock)
        began = time.monotonic()
        try:
            chaos.run(asked.minutes)
            said = complaints(stage, asked.trials, quiet)
        except (AssertionError, TimeoutError) as error:
            said = [str(error)]
        finally:
            chaos.end()
        _print(stage, chaos, asked, time.monotonic() - began)
    print("held" if not said else "FAILED: " + "; ".join(said))
    return 1 if said else 0


def _print(stage: Stage, chaos: Chaos, asked: argparse.Namespace, took_s: float) -> None:
    trials = stage.trials(NAME)
    print(f"{asked.lanes} lane(s), seed {asked.seed}, {took_s:.0f} s, {asked.trials} trials wanted")
    ledger = "PostgreSQL" if asked.postgres else "SQLite"
    print(f"ledger in {ledger}; strikes: {dict(chaos.kills)}; the command's ends: {dict(chaos.exits)}")
    print(f"trials: {dict(Counter(trial.state for trial in trials))}")
    print(f"attempts a trial: {dict(sorted(Counter(trial.attempts for trial in trials).items()))}")
    print(f"attempts' ends: {dict(Counter(attempt.outcome for attempt in stage.attempts(NAME)))}")
    print(f"epochs trained again: {tally.wasted_share(stage, NAME):.1%}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="A sweep under kills.")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long things are killed")
    parser.add_argument("--lanes", type=int, default=2)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--every", type=float, default=15.0, metavar="SECONDS", help="between two kills")
    parser.add_argument("--sleep", type=float, default=0.5, metavar="SECONDS", help="an epoch's length")
    parser.add_argument("--clock", action="store_true", help="set the clock among the kills")
    parser.add_argument("--postgres", action="store_true", help="the killed sweep's ledger is in PostgreSQL")
    parser.add_argument("--folder", type=Path, help="a folder to stay; chaos that began there goes on")
    parser.add_argument("--seed", type=int, default=0, help="of the sweep and of the kills")
    return parser


if __name__ == "__main__":
    sys.exit(main())
