"""Real sweeps in processes of their own, and what the ledger says of them afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

from infra.errors import LedgerAbsent
from infra.home import Home
from infra.ledger import views
from infra.ledger.rows import SweepRow, TrialRow
from infra.ledger.store import Ledger

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 800.0


@dataclass
class Stage:
    """A folder with a home of its own, and the commands that are run in it."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    ledger_url: str = ""  # where it is not the home's own
    tracking_path: Path | None = None  # the same of MLflow's database

    @property
    def home(self) -> Home:
        """Where the ledger is."""
        return Home(self.folder / ".velodrome")

    def write(self, name: str, text: str) -> Path:
        """A file in the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / name
        path.write_text(text)
        return path

    def start(self, *words: str, output: IO[str] | int = subprocess.PIPE) -> subprocess.Popen[str]:
        """A command, without waiting for it; what it says goes to pipes, or all to one file."""
        environ = {**os.environ, "VELODROME_HOME": str(self.home.path), **self.environment}
        environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        environ.pop("RAY_AUTH_TOKEN_PATH", None)
        return subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *words],
            cwd=self.folder, env=environ, text=True, stdout=output, stderr=output,
            start_new_session=True,
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
        return Ledger(self.ledger_url or self.home.ledger_url)

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

    def ends(self, name: str) -> Counter[tuple[str | None, int | None]]:
        """How often each trial ended, by family and number."""
        ledger = self.ledger()
        try:
            row = views.find_sweep(ledger, name)
            assert row is not None
            told = views.events(ledger, row.id, limit=1_000_000)
            return Counter((event.family, event.number) for event in told if event.kind == "ended")
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
        deadline = time.monotonic() + limit_s
        until(self._has_ledger, limit_s)
        ledger = self.ledger()
        try:
            until(lambda: views.find_sweep(ledger, name) is not None, deadline - time.monotonic())
            row = views.find_sweep(ledger, name)
            assert row is not None
            until(lambda: reached(views.trials(ledger, row.id)), deadline - time.monotonic())
        finally:
            ledger.close()

    def _has_ledger(self) -> bool:
        """Whether the driver, which may have only begun, has made its ledger's tables."""
        if not self.ledger_url and not (self.home.path / "ledger.db").exists():
            return False
        try:
            self.ledger().close()
        except LedgerAbsent:
            return False
        return True

    def tracking_runs(self, name: str) -> list[TrackedRun]:
        """MLflow's runs of the sweep, read from its store."""
        uri = f"file:{self.tracking_path or self.home.path / 'mlflow.db'}?mode=ro"
        query = """
            SELECT runs.run_uuid, runs.name, runs.status, tags.value FROM runs
            JOIN experiments ON experiments.experiment_id = runs.experiment_id AND experiments.name = ?
            LEFT JOIN tags ON tags.run_uuid = runs.run_uuid AND tags.key = 'mlflow.parentRunId'
        """
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as connection:
            return [TrackedRun(*row) for row in connection.execute(query, (name,))]

    def trained_epochs(self, name: str, number: int) -> list[int]:
        """The epochs that all attempts of a scripted trial trained, in order."""
        return [step.epoch for step in self.steps(name, number)]

    def steps(self, name: str, number: int) -> list[Step]:
        """The same with process and time; empty where the trial came to none."""
        found = list(self.home.storage.glob(f"{name}/*/search-{number:04d}/files/epochs.txt"))
        lines = found[0].read_text().splitlines() if found else []
        return [Step(int(epoch), int(pid), float(at)) for epoch, pid, at in map(str.split, lines)]

    def logs(self, name: str, number: int) -> str:
        """What all attempts of a trial of a sweep of one family printed."""
        found = sorted((self.home.logs / name).glob(f"*-{number:04d}-*.log*"))
        return "".join(path.read_text(errors="replace") for path in found)

    def lane_pids(self, name: str) -> list[int]:
        """Processes of lanes that train now."""
        return [attempt.lane_facts["pid"] for attempt in self.attempts(name) if attempt.ended_at is None]


@dataclass(frozen=True)
class Step:
    """One epoch that a process trained; `at` in seconds since 1970."""

    epoch: int
    pid: int
    at: float


@dataclass(frozen=True)
class TrackedRun:
    """One of MLflow's runs; `parent` is a run's id, or None."""

    id: str
    name: str
    status: str
    parent: str | None


def check_tracking(stage: Stage, name: str, parent: str = "FINISHED") -> None:
    """MLflow has one run a trial below one parent, each with the state that the ledger says."""
    runs = stage.tracking_runs(name)
    (top,) = [run for run in runs if run.parent is None]
    assert top.status == parent
    trials = stage.trials(name)
    meant = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED", "waiting": "SCHEDULED"}
    children = Counter(run.status for run in runs if run.parent == top.id)
    assert children == Counter(meant[trial.state] for trial in trials)


def left_behind(folder: Path) -> list[str]:
    """Processes that run for a home below the folder."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        environ = process.info["environ"] or {}
        if str(folder) in environ.get("VELODROME_HOME", "") and process.pid != os.getpid():
            found.append(" ".join(process.info["cmdline"] or [])[:200])
    return found


def stretch_limit(limit_s: float) -> float:
    """A limit that holds where nothing else runs, stretched by how busy the machine is now."""
    return limit_s * max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0)))


def until(reached: Callable[[], bool], limit_s: float) -> None:
    """Polls until something holds.

    Raises:
        TimeoutError: it did not within the limit, which a busy machine stretches.
    """
    began = time.monotonic()
    while not reached():
        if time.monotonic() > began + stretch_limit(limit_s):
            raise TimeoutError(f"not reached within {limit_s:g} s")
        time.sleep(0.1)


def have_ended(count: int) -> Callable[[list[TrialRow]], bool]:
    """Whether so many trials have ended."""
    return lambda trials: sum(trial.has_ended for trial in trials) >= count


def under_way(count: int) -> Callable[[list[TrialRow]], bool]:
    """Whether so many trials have ended and another one runs.

    After a stop that left nothing running this tells that the next command has begun to train; that so many
    ended, the stop itself may have brought about, and a signal would then find a process that only starts.
    """
    return lambda trials: have_ended(count)(trials) and any(trial.state == "running" for trial in trials)


def children(process: subprocess.Popen[Any] | psutil.Process, title: str) -> list[psutil.Process]:
    """Running processes below one whose title holds a text (`CoordinatorActor`, `RayTrainWorker`)."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):  # ended since it was listed, or a zombie
            if title in " ".join(child.cmdline()):
                found.append(child)
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
