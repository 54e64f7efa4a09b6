"""Real sweeps in processes of their own, and what the ledger says of them afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from infra.home import Home
from infra.ledger import views
from infra.ledger.rows import SweepRow, TrialRow
from infra.ledger.store import Ledger

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 240.0


@dataclass
class Stage:
    """A folder with a home of its own, and the commands that are run in it."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def home(self) -> Home:
        """Where the ledger is."""
        return Home(self.folder / ".velodrome")

    def write(self, name: str, text: str) -> Path:
        """A file in the folder."""
        path = self.folder / name
        path.write_text(text)
        return path

    def start(self, *words: str) -> subprocess.Popen[str]:
        """A command, without waiting for it."""
        environ = {**os.environ, "VELODROME_HOME": str(self.home.path), **self.environment}
        environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        environ.pop("RAY_AUTH_TOKEN_PATH", None)
        return subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *words],
            cwd=self.folder, env=environ, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def run(self, *words: str, limit_s: float = LIMIT_S) -> subprocess.CompletedProcess[str]:
        """A command to its end."""
        process = self.start(*words)
        try:
            out, err = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def ledger(self) -> Ledger:
        """The ledger, once it exists."""
        return Ledger(self.home.ledger_url)

    def sweep(self, name: str) -> SweepRow:
        """The sweep's row."""
        ledger = self.ledger()
        try:
            row = views.find_sweep(ledger, name)
            assert row is not None
            return row
        finally:
            ledger.close()

    def trials(self, name: str, role: str = "search") -> list[TrialRow]:
        """The sweep's trials as the ledger has them now."""
        ledger = self.ledger()
        try:
            row = views.find_sweep(ledger, name)
            return views.trials(ledger, row.id, role=role) if row else []
        finally:
            ledger.close()

    def attempts(self, name: str) -> list[Any]:
        """All attempts, in the order in which they started."""
        ledger = self.ledger()
        try:
            row = views.find_sweep(ledger, name)
            return views.attempts(ledger, row.id) if row else []
        finally:
            ledger.close()

    def wait_for(
        self, name: str, reached: Callable[[list[TrialRow]], bool], limit_s: float = LIMIT_S
    ) -> None:
        """Waits until the trials are as wanted."""
        until(lambda: self.home.path.joinpath("ledger.db").exists() and reached(self.trials(name)), limit_s)

    def lane_pids(self, name: str) -> list[int]:
        """Processes of lanes that train now."""
        return [attempt.lane_facts["pid"] for attempt in self.attempts(name) if attempt.ended_at is None]


def until(reached: Callable[[], bool], limit_s: float) -> None:
    """Polls until something holds.

    Raises:
        TimeoutError: it did not within the limit.
    """
    deadline = time.monotonic() + limit_s
    while not reached():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not reached within {limit_s:g} s")
        time.sleep(0.05)


def ended(count: int) -> Callable[[list[TrialRow]], bool]:
    """Whether so many trials have ended."""
    return lambda trials: sum(trial.ended for trial in trials) >= count


def children(process: subprocess.Popen[str], title: str) -> list[psutil.Process]:
    """Processes below a command whose title holds a text (`CoordinatorActor`, `RayTrainWorker`)."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if title in " ".join(child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def kill(pid: int) -> None:
    """SIGKILL, if it still lives."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def table(trials: list[TrialRow]) -> list[tuple[Any, ...]]:
    """What of each trial must not depend on how often things died."""
    return [
        (
            trial.family, trial.number, trial.state, tuple(sorted(trial.params.items())), trial.seed,
            trial.epoch, trial.epochs, tuple(trial.objective or ()), trial.metrics.get("val/total"),
        )
        for trial in trials
    ]  # fmt: skip
