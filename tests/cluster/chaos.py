"""Minutes of a sweep on machines in namespaces while something of them is killed every few seconds.

    python tests/cluster/chaos.py                          twenty minutes, 200 trials, a kill every 20 s
    python tests/cluster/chaos.py --minutes 5 --trials 60

Killed is what chance says: a lane, all of Ray on a worker machine (it starts again 20 s later), the sessions
of the database, the database (a crash, away for 10 s), or MLflow's server (as long). Every trial ends exactly
once, MLflow has one run a trial below one parent. The exit status is 1 where something of this does not hold.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.cluster.clusters import RayCluster, scripted_sweep, start_cluster, start_tracking
from tests.faults import tally
from tests.faults.harness import check_tracking, kill

NAME = "chaos"
EPOCHS = 20
SIZES = {"head": 1, "one": 2, "two": 2}
AWAY_S = 10.0
BACK_S = 20.0
QUIET_END_S = 600.0  # without kills, what is left must be done within this time


class ClusterChaos:
    """Kills, and what must come back later."""

    def __init__(self, cluster: RayCluster, chance: random.Random) -> None:
        self.cluster = cluster
        self.random = chance
        self.kills = Counter[str]()
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.strikes: dict[str, Callable[[], str]] = {
            "lane": self._kill_lane,
            "machine": self._kill_machine,
            "sessions": self._end_sessions,
            "database": self._crash_database,
            "tracking": self._kill_tracking,
        }

    def strike(self) -> str:
        """One of them, with a word on what it met."""
        kind = self.random.choice(sorted(self.strikes))
        met = self.strikes[kind]()
        self.kills[kind if met else f"no {kind} to kill"] += 1
        return f"{kind} {met}" if met else f"no {kind} is up just now"

    def bring_back(self, *, everything: bool = False) -> None:
        """What was away long enough."""
        now = time.monotonic()
        for at, back in list(self.due):
            if everything or at <= now:
                self.due.remove((at, back))
                back()

    def _later(self, seconds: float, back: Callable[[], None]) -> None:
        self.due.append((time.monotonic() + seconds, back))

    def _kill_lane(self) -> str:
        machines = self.cluster.network.machines
        lanes = [(name, pid) for name in SIZES for pid in self.cluster.lanes(machines[name])]
        if not lanes:
            return ""
        name, pid = self.random.choice(lanes)
        kill(pid)
        return f"on {name}"

    def _kill_machine(self) -> str:
        machine = self.cluster.network.machines[self.random.choice(["one", "two"])]
        if not machine.processes("raylet"):
            return ""
        self.cluster.kill_ray(machine)
        self._later(BACK_S, lambda: self.cluster.join(machine, SIZES[machine.name], wait=False))
        return machine.name

    def _end_sessions(self) -> str:
        if any(back == self.cluster.postgres.start for _, back in self.due):
            return ""
        self.cluster.postgres.end_sessions()
        return "of the database"

    def _crash_database(self) -> str:
        if any(back == self.cluster.postgres.start for _, back in self.due):
            return ""
        self.cluster.postgres.stop("immediate")
        self._later(AWAY_S, self.cluster.postgres.start)
        return f"for {AWAY_S:g} s"

    def _kill_tracking(self) -> str:
        machine = self.cluster.network.machines["mlflow"]
        found = machine.processes("mlflow")
        for process in found:
            kill(process.pid)
        if found:
            self._later(AWAY_S, lambda: start_tracking(machine))
        return f"for {AWAY_S:g} s" if found else ""


def run(cluster: RayCluster, chaos: ClusterChaos, asked: argparse.Namespace) -> int:
    """The driver's exit status, after so many minutes of kills and what quiet the rest needs.

    Raises:
        TimeoutError: the rest was not done in its time.
    """
    with (cluster.head.home / "driver.txt").open("w") as log:
        driver: subprocess.Popen[str] = cluster.sweep(f"{NAME}.yaml", output=log)
    began = time.monotonic()
    due, ends = began + 40.0, began + asked.minutes * 60
    while driver.poll() is None:
        now = time.monotonic()
        if now > ends + QUIET_END_S:
            raise TimeoutError(f"{QUIET_END_S:.0f} s after the last kill the sweep still runs")
        chaos.bring_back(everything=now > ends)
        if due < now < ends:
            due = now + asked.every
            print(f"{now - began:6.1f} s  {chaos.strike()}", flush=True)
        time.sleep(0.2)
    chaos.bring_back(everything=True)
    return driver.returncode


def complaints(cluster: RayCluster, trials: int) -> list[str]:
    """What does not hold after the sweep's end."""
    stage = cluster.stage
    found = stage.trials(NAME)
    counts = {
        "trials lost": tally.count_lost(found, trials),
        "trials too many": max(0, len(found) - trials),
        "ends too many": sum(count - 1 for count in stage.ends(NAME).values()),
        "trials failed": sum(trial.state == "failed" for trial in found),
        "attempts without an end": sum(attempt.ended_at is None for attempt in stage.attempts(NAME)),
        "trials with other epochs than asked for": sum(trial.epochs != EPOCHS for trial in found),
    }
    said = [f"{count} {what}" for what, count in counts.items() if count]
    try:
        check_tracking(stage, NAME)
    except (AssertionError, ValueError) as error:
        said.append(f"MLflow has not one run a trial and one parent: {error}")
    return said


def main(words: Sequence[str] | None = None) -> int:
    """The command."""
    asked = _parser().parse_args(words)
    with (
        tempfile.TemporaryDirectory(prefix="cluster-chaos-", ignore_cleanup_errors=True) as folder,
        start_cluster(Path(folder), SIZES, SCRIPTED_SLEEP=str(asked.sleep)) as cluster,
    ):
        text = scripted_sweep(NAME, asked.trials, EPOCHS, seed=asked.seed)
        (cluster.head.home / f"{NAME}.yaml").write_text(text)
        chaos = ClusterChaos(cluster, random.Random(asked.seed))
        began = time.monotonic()
        status = run(cluster, chaos, asked)
        said = complaints(cluster, asked.trials) if status == 0 else [f"the command ended with {status}"]
        if said:
            print((cluster.head.home / "driver.txt").read_text()[-3000:])
        _print(cluster, chaos, asked, time.monotonic() - began)
    print("held" if not said else "FAILED: " + "; ".join(said))
    return 1 if said else 0


def _print(cluster: RayCluster, chaos: ClusterChaos, asked: argparse.Namespace, took_s: float) -> None:
    trials, attempts = cluster.stage.trials(NAME), cluster.stage.attempts(NAME)
    print(f"seed {asked.seed}, {took_s:.0f} s, {asked.trials} trials wanted; strikes: {dict(chaos.kills)}")
    print(f"trials: {dict(Counter(trial.state for trial in trials))}")
    print(f"attempts a trial: {dict(sorted(Counter(trial.attempts for trial in trials).items()))}")
    print(f"attempts' ends: {dict(Counter(attempt.outcome for attempt in attempts))}")
    print(f"attempts by machine: {dict(Counter(attempt.lane_facts['host'] for attempt in attempts))}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="A sweep on several machines under kills.")
    parser.add_argument("--minutes", type=float, default=20.0, help="how long things are killed")
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--every", type=float, default=20.0, metavar="SECONDS", help="between two kills")
    parser.add_argument("--sleep", type=float, default=1.2, metavar="SECONDS", help="an epoch's length")
    parser.add_argument("--seed", type=int, default=0, help="of the sweep and of the kills")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
