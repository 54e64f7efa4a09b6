"""Changes the code where decisions are made, one place at a time, and counts which changes the tests notice.

    python tests/mutants/run.py --count 60 --seed 1
    python tests/mutants/run.py --rooms ledger hooks --count 10
    python tests/mutants/run.py --count 300 --record done.jsonl --minutes 5   # again and again: it goes on
    python tests/mutants/run.py --watch map                 # which tests pass which lines: some minutes, once
    python tests/mutants/run.py --count 300 --map map --record done.jsonl --part 1/2     # and 2/2 beside it

Each mutant is a copy of the tree with one change. The tests of its room are run; with a map those of all
rooms that pass the changed lines, the quickest first. A change is noticed by a test that passes without it.
Survivors are printed: a survivor is a test that is missing, or a change that makes no difference.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.mutants.rooms import ROOMS, ROOT, Mutant, sample_mutants  # the path comes first
from tests.mutants.running import FAILED, PRODUCT, Batch, Outcome, run_tests
from tests.mutants.watching import FILES, FOLDER, Map

HEAVY = (
    "torch",
    "numpy",
    "optuna",
    "sqlalchemy",
    "pytest",
    "hypothesis",
    "scipy.stats",
    "pydantic",
    "psutil",
)
SLOWER = 4.0  # than the unchanged tree's tests: what takes longer goes round in circles
LEAST_LIMIT_S = 20.0
MAPPED = "not ray and not long"
FIRST = 24  # tests of a map that are run before the others: most mutants end there
MOST_S = 90.0  # of the others, the quickest first


class Bench:
    """Two trees, one of which is changed, and what is known of the tests.

    Args:
        known: which tests pass which lines; None runs each room's own.
        record: where the rooms' limits are kept.
    """

    def __init__(self, folder: Path, known: Map | None, record: Path | None) -> None:
        self.changed, self.whole = copy_tree(folder / "changed"), copy_tree(folder / "whole")
        self.known = known
        self.record = record
        self._limits: dict[str, float] = {}
        self._sound: dict[str, bool] = {}

    def try_mutant(self, mutant: Mutant) -> Mutant:
        """Runs tests on the tree with the change until some fail, and puts the file back."""
        path = self.changed / mutant.path
        source = path.read_bytes()
        seconds, by = 0.0, ""
        try:
            path.write_bytes(mutant.mutation.apply(source))
            for batch in self._batches(mutant):
                outcome = run_tests(self.changed, batch)
                seconds += outcome.seconds
                if by := self._noticed_by(outcome):
                    break
        finally:
            path.write_bytes(source)
        return replace(mutant, seconds=seconds, survived=not by, by=by)

    def _noticed_by(self, outcome: Outcome) -> str:
        """The test that fails for the change alone, or what else shows it; empty where nothing does."""
        if outcome.status == 0:
            return ""
        for test in outcome.failed:
            if "::" not in test:
                return test  # a file that cannot be read any more
            if test not in self._sound:
                self._sound[test] = run_tests(self.whole, Batch(tests=(test,), marks=MAPPED)).status == 0
                if not self._sound[test]:
                    print(f"fails by itself and shows nothing: {test}", flush=True)
            if self._sound[test]:
                return test
        return "" if outcome.failed else outcome.word

    def _batches(self, mutant: Mutant) -> Iterator[Batch]:
        """Tests that pass the changed lines, then the room's: a line that is passed once a process, for what
        is kept from then on, is known of the first test alone that needs it."""
        yield from self._known_batches(mutant)
        yield Batch(tests=ROOMS[mutant.room].tests, limit_s=self._limit(mutant.room))

    def _known_batches(self, mutant: Mutant) -> list[Batch]:
        if self.known is None:
            return []
        last = mutant.mutation.line + mutant.mutation.before.count("\n")
        found = self.known.tests_of(mutant.path, mutant.mutation.line, last)
        tests: list[str] = []
        total = 0.0
        for test in found:
            total += self.known.seconds[test]
            if (tests and total > MOST_S) or not self._sound.get(test, True):
                continue
            tests.append(test)
        return [
            Batch(
                tests=tuple(some),
                limit_s=max(LEAST_LIMIT_S, SLOWER * sum(self.known.seconds[test] for test in some)),
                marks=MAPPED,
            )
            for some in (tests[:FIRST], tests[FIRST:])
            if some
        ]

    def _limit(self, room: str) -> float:
        """How long the tests of a room may take.

        Raises:
            SystemExit: they fail on the tree as it is.
        """
        if room not in self._limits:
            known = read_record(self.record).get(room)
            if known is None:
                outcome = run_tests(self.whole, Batch(tests=ROOMS[room].tests))
                if outcome.status != 0:
                    raise SystemExit(
                        f"the tests of {room} must pass as they are: {outcome.failed or outcome.word}"
                    )
                known = {"limit_s": max(LEAST_LIMIT_S, SLOWER * outcome.seconds)}
                write_record(self.record, room, **known)
            self._limits[room] = known["limit_s"]
        return self._limits[room]


def copy_tree(target: Path) -> Path:
    """What the tests need of this tree, where it may be changed."""
    for name in PRODUCT:
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (*ROOT.glob("*.toml"), *ROOT.glob("*.md"), *ROOT.glob("*.txt"), ROOT / "Makefile"):
        shutil.copy2(path, target / path.name)
    return target


def main(words: list[str] | None = None) -> int:
    """The exit status: 1 where fewer were noticed than is asked for, or the tests fail as they are."""
    asked = _parser().parse_args(words)
    if asked.watch:
        return watch_tests(asked.watch)
    until = time.monotonic() + asked.minutes * 60
    sample = sample_mutants(asked.rooms, asked.count, asked.seed)
    part, parts = map(int, asked.part.split("/"))
    sample = sample[part - 1 :: parts]
    known = read_record(asked.record)
    done = [replace(one, **known[one.key]) for one in sample if one.key in known]
    tell_survivors(done)
    left = [one for one in sample if one.key not in known]
    if left:
        for name in HEAVY:
            importlib.import_module(name)
    with tempfile.TemporaryDirectory(prefix="velodrome-mutants-") as folder:
        bench = Bench(Path(folder), Map(asked.map, ROOT) if asked.map else None, asked.record)
        for mutant in left:
            if time.monotonic() > until:
                break
            done.append(bench.try_mutant(mutant))
            tell_survivors(done[-1:])
            found = done[-1]
            write_record(
                asked.record, mutant.key, seconds=found.seconds, survived=found.survived, by=found.by
            )
    return report(done, asked.least)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Counts which small changes of the code the tests notice.")
    parser.add_argument("--rooms", nargs="+", choices=sorted(ROOMS), default=list(ROOMS))
    parser.add_argument("--count", type=int, default=64, help="mutants, in equal shares of the rooms")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--least", type=float, default=0.0, help="the share that must be noticed")
    parser.add_argument("--record", type=Path, help="a file for what became of each: those in it are done")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no further one after them")
    parser.add_argument("--watch", type=Path, help="run all tests and write into this folder what they pass")
    parser.add_argument("--map", type=Path, help="a folder that --watch wrote, of this same tree")
    parser.add_argument("--part", default="1/1", help="1/2 and 2/2 beside it share the mutants")
    return parser


def watch_tests(folder: Path) -> int:
    """Runs all tests that start no Ray; what they pass lies in the folder then. A test that fails for being
    watched, as one of how long something takes may, shows nothing: only what ends the tests is an error."""
    folder.mkdir(parents=True, exist_ok=True)
    files = ":".join(str(path) for room in ROOMS.values() for path in room.paths(ROOT))
    words = ("-p", "tests.mutants.watching", "-n", "2", "--dist", "worksteal", "-m", MAPPED, "tests")
    environment = os.environ | {FOLDER: str(folder.resolve()), FILES: files}
    status = subprocess.run([sys.executable, "-m", "pytest", *words], cwd=ROOT, env=environment).returncode
    return 0 if status == FAILED else status


def read_record(path: Path | None) -> dict[str, dict[str, Any]]:
    """What became of mutants, and the rooms' limits, by their names."""
    if path is None or not path.exists():
        return {}
    lines = map(json.loads, path.read_text().splitlines())
    return {line.pop("key"): line for line in lines}


def write_record(path: Path | None, key: str, **values: float | str) -> None:
    """One more."""
    if path is not None:
        with path.open("a") as file:
            file.write(json.dumps({"key": key, **values}) + "\n")


def tell_survivors(done: list[Mutant]) -> None:
    """A line each."""
    for mutant in done:
        if mutant.survived:
            print(f"survived: {mutant}", flush=True)


def report(done: list[Mutant], least: float) -> int:
    """A line a room and one for all."""
    for room in sorted({mutant.room for mutant in done}):
        own = [mutant for mutant in done if mutant.room == room]
        caught = sum(not mutant.survived for mutant in own)
        print(f"{room:12} {caught} of {len(own)} noticed, {sum(m.seconds for m in own):.0f} s")
    share = sum(not mutant.survived for mutant in done) / max(1, len(done))
    print(f"{len(done)} mutants, {share:.0%} noticed (at least {least:.0%} wanted)")
    return int(share < least)


if __name__ == "__main__":
    raise SystemExit(main())
