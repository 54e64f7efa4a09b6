"""Tries the promises of `docs/faults.md` again: each row's tests and cases of the catalogue.

python tests/faults/promises.py             the tests that start no Ray: minutes
python tests/faults/promises.py --all       those that do and the catalogue's cases too: an hour

Prints a line a promise; the exit status is 1 where one does not hold.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.faults.catalogue import ROOT, catalogue, run_case
from tests.faults.outcome import Pace

PAGE = ROOT / "docs" / "faults.md"
CASES = "tests/faults/cases/"
QUICK = "not ray and not long"


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """A row of the page.

    Attributes:
        tests: `path::name` of each.
        cases: names of functions that are cases of the catalogue.
    """

    text: str
    tests: tuple[str, ...]
    cases: tuple[str, ...]


@dataclass(eq=False)  # pytest keeps its plugins in a set
class Reports:
    """A plugin of pytest: which tests ran, and which of them failed, by `path::name` without parameters."""

    ran: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Notes one phase of a test."""
        name = report.nodeid.partition("[")[0]
        if report.when == "call" and not report.skipped:
            self.ran.add(name)
        if report.failed:
            self.failed.add(name)


def read_promises(text: str) -> list[Promise]:
    """The rows of the page's table of promises."""
    section = text.partition("\n## Promises\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    promises = []
    for promise, shown in (row for row in rows if row[0] not in ("promise", "---")):
        named = [f"{path}::{name}" for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", shown)]
        cases = tuple(name.partition("::")[2] for name in named if name.startswith(CASES))
        tests = tuple(name for name in named if not name.startswith(CASES))
        promises.append(Promise(text=promise, tests=tests, cases=cases))
    return promises


def run_cases(names: Collection[str]) -> set[str]:
    """Which of these functions are cases that do not hold."""
    known = {case.run.__name__: case for case in catalogue().values()}
    return {name for name in names if not run_case(known[name], Pace(fast=False)).passed}


def judge_promise(promise: Promise, reports: Reports, broken: Collection[str], *, with_cases: bool) -> str:
    """What became of it, in words."""
    failed = [name for name in promise.tests if name in reports.failed]
    failed += [name for name in promise.cases if name in broken]
    if failed:
        return f"BROKEN: {', '.join(failed)}"
    ran = sum(name in reports.ran for name in promise.tests) + len(promise.cases) * with_cases
    left = len(promise.tests) + len(promise.cases) - ran
    return f"{'holds' if ran else 'not tried'}: {ran} shown{f', {left} not run' if left else ''}"


def main(words: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Tries the promises of docs/faults.md again.")
    parser.add_argument("--all", action="store_true", help="also what starts Ray, and cases of the catalogue")
    asked = parser.parse_args(words)
    promises, reports = read_promises(PAGE.read_text()), Reports()
    tests = sorted({name for promise in promises for name in promise.tests})
    assert tests, f"{PAGE} has no table of promises"
    os.chdir(ROOT)
    chosen = [] if asked.all else ["-m", QUICK]
    pytest.main(["-n", "0", "-p", "no:cacheprovider", *chosen, *tests], plugins=[reports])
    broken = run_cases({name for promise in promises for name in promise.cases}) if asked.all else set()
    said = [judge_promise(promise, reports, broken, with_cases=asked.all) for promise in promises]
    for promise, verdict in zip(promises, said, strict=True):
        print(f"{verdict}\n    {promise.text}")
    return int(any(verdict.startswith("BROKEN") for verdict in said))


if __name__ == "__main__":
    sys.exit(main())
