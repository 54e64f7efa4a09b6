"""Runs tests in a tree, in a process that is forked from this one with the heavy libraries in it."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

PRODUCT = ("velodrome", "flows", "infra", "trainers", "search_spaces", "tests", "scripts", "docs")
FAILED, TOO_LONG = 1, -1
FAST = "not ray and not slow and not long"
LOADED_BEFORE = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Tests that are run together, and how long they may take."""

    tests: tuple[str, ...]
    limit_s: float | None = None
    marks: str = FAST


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a batch ended.

    Attributes:
        status: pytest's exit status; TOO_LONG where it was ended.
        failed: names of tests, or of files that could not be collected.
    """

    status: int
    seconds: float
    failed: tuple[str, ...] = ()

    @property
    def word(self) -> str:
        """What is to be said where no test is named."""
        return "" if self.status == 0 else "too long" if self.status == TOO_LONG else f"exit {self.status}"


class Failures:
    """A plugin of pytest that writes down what fails, at once: the process may end in any way."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A phase of a test."""
        if report.failed:
            self._write(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file."""
        if report.failed:
            self._write(report.nodeid)

    def _write(self, name: str) -> None:
        with self.path.open("a") as file:
            file.write(f"{name}\n")


def run_tests(root: Path, batch: Batch) -> Outcome:
    """How tests end in a tree, the first failure being the last test."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="velodrome-mutant-") as folder:
        names = Path(folder) / "failed"
        pid = os.fork()
        if pid == 0:
            _become_tests(root, batch, names)
        status = _wait(pid, batch.limit_s)
        failed = tuple(names.read_text().splitlines()) if names.exists() else ()
    return Outcome(status=status, seconds=time.monotonic() - began, failed=failed)


def _wait(pid: int, limit_s: float | None) -> int:
    began = time.monotonic()
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if limit_s is not None and time.monotonic() - began > limit_s:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return TOO_LONG
        time.sleep(0.02)


def _become_tests(root: Path, batch: Batch, names: Path) -> None:
    """Never returns: what the tests do, and threads that they leave, ends with this process."""
    try:
        os.setsid()
        os.chdir(root)
        sys.path[0] = str(root)
        for name in [name for name in sys.modules if name.partition(".")[0] in PRODUCT]:
            del sys.modules[name]
        os.environ["PYTHONPATH"] = str(root)
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        words = ("-x", "-n", "0", "-p", "no:cacheprovider", "-m", batch.marks, "-W", LOADED_BEFORE)
        os._exit(int(pytest.main([*words, *batch.tests], plugins=[Failures(names)])))
    except BaseException:
        os._exit(FAILED)
