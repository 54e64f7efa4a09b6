"""Running a sweep as a person would, and what is seen of it from outside: its ledger and its processes."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from benchmarks.figures import print_progress
from benchmarks.work import STAMPS

ROOT = Path(__file__).resolve().parents[1]
MEBIBYTE = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSample:
    """One look at a running sweep: ended trials and resident MiB by role (driver, coordinator, lane)."""

    at: float
    ended: int
    memory: dict[str, float]
    driver: int  # its pid


@dataclass(slots=True)
class SweepRun:
    """A sweep that has run."""

    home: Path
    began: float
    seconds: float = 0.0
    seen: list[SweepSample] = field(default_factory=list)

    def query_ledger(self, query: str) -> list[tuple[float, ...]]:
        """What the ledger answers."""
        return query_database(self.home / "ledger.db", query)

    @property
    def steady(self) -> float:
        """Seconds from the first attempt's start to the last one's end."""
        ((first, last),) = self.query_ledger("select min(started_at), max(ended_at) from attempts")
        return last - first

    @property
    def to_first_attempt(self) -> float:
        """Seconds from the command to the first attempt."""
        ((first,),) = self.query_ledger("select min(started_at) from attempts")
        return first - self.began

    def end_times(self) -> list[float]:
        """When each attempt ended, in order."""
        return [row[0] for row in self.query_ledger("select ended_at from attempts order by ended_at")]

    def memory(self, role: str, ended: int) -> float:
        """Resident MiB of a role's processes together, when so many trials had ended."""
        after = [look.memory.get(role, 0.0) for look in self.seen if look.ended >= ended]
        return after[0] if after else self.seen[-1].memory.get(role, 0.0)


@contextlib.contextmanager
def temporary_home() -> Iterator[Path]:
    """A folder that is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def run_sweep(
    folder: Path,
    text: str,
    *,
    limit_s: float,
    look_every_s: float = 0.0,
    stamps: Path | None = None,
    program: str = "flows.cli",
    until: Callable[[SweepSample], bool] = lambda seen: False,
) -> SweepRun:
    """`velodrome sweep` on that text in a process of its own.

    Args:
        folder: the home.
        limit_s: it is ended when it takes longer.
        look_every_s: between two looks at it; 0: none.
        stamps: where training functions note their times.
        program: the module that takes the command line.
        until: ends it (SIGINT) when it says so of a look.

    Raises:
        RuntimeError: it failed, or took too long.
    """
    file = folder / f"bench-{time.time_ns()}.yaml"
    file.write_text(text)
    command = [sys.executable, "-m", program, "sweep", str(file), "--json"]
    found = SweepRun(folder, time.time())
    with (folder / "stderr.txt").open("a") as errors:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=_sweep_environment(folder, stamps),
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
        watch = threading.Thread(target=_watch_sweep, args=(process, found, look_every_s, until), daemon=True)
        if look_every_s:
            watch.start()
        try:
            status = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            _end_process(process)
            raise RuntimeError(f"the sweep took longer than {limit_s:.0f} s")
        finally:
            found.seconds = time.time() - found.began
    if status not in (0, 130):
        tail = (folder / "stderr.txt").read_text()[-2_000:]
        raise RuntimeError(f"the sweep ended with {status}: {tail}")
    return found


def _sweep_environment(folder: Path, stamps: Path | None) -> dict[str, str]:
    env = {**os.environ, "VELODROME_HOME": str(folder), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    env.pop("RAY_AUTH_TOKEN_PATH", None)
    if stamps is not None:
        stamps.mkdir(exist_ok=True)
        env[STAMPS] = str(stamps)
    return env


def _end_process(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _watch_sweep(
    process: subprocess.Popen[bytes], found: SweepRun, every_s: float, until: Callable[[SweepSample], bool]
) -> None:
    said, asked = time.monotonic(), False
    while process.poll() is None:
        time.sleep(every_s)
        ended = _count_ended(found.home / "ledger.db")
        look = SweepSample(
            at=time.time(), ended=ended, memory=memory_by_role(process.pid), driver=process.pid
        )
        found.seen.append(look)
        if time.monotonic() - said > 20:
            said = time.monotonic()
            print_progress(
                f"{ended} trials ended, memory {', '.join(f'{n} {v:.0f}' for n, v in look.memory.items())}"
            )
        if not asked and until(look):
            asked = True
            process.send_signal(signal.SIGINT)


def _count_ended(path: Path) -> int:
    if not path.exists():
        return 0
    try:
        return int(query_database(path, "select count(*) from trials where ended_at is not null")[0][0])
    except sqlite3.Error:
        return 0


def query_database(path: Path, query: str) -> list[tuple[float, ...]]:
    """What a database file answers, read alone."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
        return connection.execute(query).fetchall()


def memory_by_role(pid: int) -> dict[str, float]:
    """Resident MiB of a driver and of the processes that it started, by role."""
    found: dict[str, float] = {}
    try:
        driver = psutil.Process(pid)
        family = [driver, *driver.children(recursive=True)]
    except psutil.Error:
        return found
    for process in family:
        with contextlib.suppress(psutil.Error, IndexError):
            role = _role(process, pid)
            if role:
                found[role] = found.get(role, 0.0) + process.memory_info().rss / MEBIBYTE
    return found


def _role(process: psutil.Process, driver: int) -> str:
    if process.pid == driver:
        return "driver"
    name = " ".join(process.cmdline())
    if "CoordinatorActor" in name:
        return "coordinator"
    return "lane" if "RayTrainWorker" in name else ""
