"""The catalogue's cases, and one of them run in a process and a folder of its own."""

from __future__ import annotations

import contextlib
import importlib
import json
import pkgutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.faults import cases
from tests.faults.outcome import CASES, Case, Outcome, Pace

ROOT = Path(__file__).resolve().parents[2]
COMMAND = "tests/faults/run.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One run of a case; `broken` says which promise did not hold, and is empty where all did."""

    id: str
    title: str
    seconds: float
    outcome: Outcome
    broken: str = ""

    @property
    def passed(self) -> bool:
        """Whether everything held and nothing was lost, duplicated, orphaned or silently wrong."""
        return not self.broken and self.outcome.passed


def catalogue() -> dict[str, Case]:
    """All cases by id, in the order of their ids."""
    for module in pkgutil.iter_modules(cases.__path__, cases.__name__ + "."):
        importlib.import_module(module.name)
    return dict(sorted(CASES.items()))


def run_case(case: Case, pace: Pace) -> Result:
    """Runs a case in a process of its own, with its limit; whatever is left of it is ended."""
    with tempfile.TemporaryDirectory(prefix=f"{case.id.lower()}-", ignore_cleanup_errors=True) as folder:
        said = Path(folder) / "result.json"
        began = time.monotonic()
        command = [sys.executable, str(ROOT / COMMAND), case.id, "--into", str(said)]
        child = subprocess.Popen(
            [*command, *(["--fast"] if pace.fast else [])],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            text, _ = child.communicate(timeout=case.limit_s)
        except subprocess.TimeoutExpired:
            end_with_descendants(child.pid)
            text, _ = child.communicate()
            text += f"\nit must end within {case.limit_s:.0f} s"
        seconds = time.monotonic() - began
        found = json.loads(said.read_text()) if said.exists() else {"broken": last_lines(text)}
    outcome = Outcome(**found["outcome"]) if "outcome" in found else Outcome()
    return Result(
        id=case.id, title=case.title, seconds=seconds, outcome=outcome, broken=found.get("broken", "")
    )


def run_here(case: Case, pace: Pace, into: Path) -> None:
    """Runs a case in this process, and writes what came of it for the one that waits."""
    folder = into.parent / "case"
    folder.mkdir()
    try:
        outcome = case.run(folder, pace)
    except (AssertionError, TimeoutError) as error:
        into.write_text(json.dumps({"broken": _where(error)}))
        raise
    found = outcome.as_dict()
    found.pop("passed")
    into.write_text(json.dumps({"outcome": found}))


def _where(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else ""
    return f"{type(error).__name__} at {place}: {str(error).strip().partition(chr(10))[0][:200]}"


def last_lines(text: str) -> str:
    """The end of what a process said, on one line."""
    return " / ".join(text.strip().splitlines()[-3:])[:400] or "it said nothing"


def end_with_descendants(pid: int) -> None:
    """SIGKILL to a process and all below it."""
    try:
        parent = psutil.Process(pid)
        family = [*parent.children(recursive=True), parent]
    except psutil.NoSuchProcess:
        return
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
