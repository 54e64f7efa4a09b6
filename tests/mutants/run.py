"""Changes the code where decisions are made, one place at a time, and counts which changes the tests notice.

    python tests/mutants/run.py --count 60 --seed 1
    python tests/mutants/run.py --rooms ledger hooks --count 10
    python tests/mutants/run.py --count 300 --record done.jsonl --minutes 5     # again and again: it goes on

Each mutant is a copy of the tree with one change; only the tests of its room are run, each with a limit, in a
process that is forked from one with the heavy libraries in it. Survivors are printed: a survivor is a test
that is missing, or a change that makes no difference.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.mutants.mutations import Mutation, find_mutations  # noqa: E402  # the path comes first

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
PRODUCT = ("velodrome", "flows", "infra", "trainers", "search_spaces", "tests", "scripts", "docs")
SLOWER = 4.0  # than the unchanged tree's tests: what takes longer goes round in circles
LEAST_LIMIT_S = 20.0
FAILED, TOO_LONG = 1, -1
FAST = "not ray and not slow and not long"
LOADED_BEFORE = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """Files whose decisions are changed, and the tests that are to notice, the quickest first."""

    files: tuple[str, ...]
    tests: tuple[str, ...]

    def paths(self, root: Path) -> list[Path]:
        """The files."""
        found = (path for pattern in self.files for path in root.glob(pattern))
        return sorted(path for path in found if path.name != "__init__.py")


ROOMS = {
    "coordinator": Room(
        files=("infra/coordinator/[!a]*.py", "infra/coordinator/attempts.py"),
        tests=("tests/infra/coordinator/test_coordinator.py", "tests/infra/coordinator"),
    ),
    "ledger": Room(
        files=("infra/ledger/*.py",), tests=("tests/infra/ledger/test_views.py", "tests/infra/ledger")
    ),
    "search": Room(
        files=("infra/search/*.py",),
        tests=("tests/infra/search", "tests/infra/coordinator/test_coordinator.py"),
    ),
    "statistics": Room(files=("flows/statistics/*.py",), tests=("tests/flows/statistics",)),
    "gates": Room(
        files=("flows/promotion/gates/*.py",),
        tests=("tests/flows/promotion/gates/test_plain_gates.py", "tests/flows/promotion/gates"),
    ),
    "hooks": Room(
        files=("infra/lanes/attempt_hooks.py", "infra/lanes/stack_hooks.py"),
        tests=(
            "tests/infra/lanes/test_attempt_hooks.py",
            "tests/infra/lanes/test_stack_hooks.py",
            "tests/infra/lanes/test_stack.py",
        ),
    ),
    "loop": Room(files=("trainers/loop/*.py",), tests=("tests/trainers/loop",)),
    "storage": Room(
        files=("infra/storage/*.py", "trainers/storage/*.py"),
        tests=("tests/trainers/storage", "tests/infra/storage"),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One change of one file, and what became of it."""

    room: str
    path: str
    mutation: Mutation
    nth: int = 0  # of those that read the same in its file
    seconds: float = 0.0
    survived: bool = False

    def __str__(self) -> str:
        before, after = (" ".join(text.split())[:90] for text in (self.mutation.before, self.mutation.after))
        return f"{self.path}:{self.mutation.line}: {before}  →  {after}"

    @property
    def key(self) -> str:
        """What it is called where it is recorded: the same after the lines above it have moved."""
        return f"{self.path}#{self.nth}: {self.mutation.before} → {self.mutation.after}"


def sample_mutants(rooms: list[str], count: int, seed: int) -> list[Mutant]:
    """So many of all, in equal shares of the rooms and in turns; a change of one file moves no other's."""
    shares = []
    for place, room in enumerate(rooms):
        found = sorted(
            find_mutants(room), key=lambda one: hashlib.sha256(f"{seed} {one.key}".encode()).digest()
        )
        shares.append(found[: count // len(rooms) + (place < count % len(rooms))])
    return [mutant for turn in zip_longest(*shares) for mutant in turn if mutant is not None]


def find_mutants(room: str) -> list[Mutant]:
    """All of a room."""
    found = []
    for path in ROOMS[room].paths(ROOT):
        seen = Counter[tuple[str, str]]()
        for mutation in find_mutations(path.read_bytes()):
            same = (mutation.before, mutation.after)
            found.append(
                Mutant(room=room, path=str(path.relative_to(ROOT)), mutation=mutation, nth=seen[same])
            )
            seen[same] += 1
    return found


def run_tests(root: Path, tests: tuple[str, ...], limit_s: float | None) -> tuple[int, float]:
    """The exit status of a room's fast tests in a tree, -1 where they took too long; and the seconds."""
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _become_tests(root, tests)
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        seconds = time.monotonic() - began
        if done:
            return os.waitstatus_to_exitcode(status), seconds
        if limit_s is not None and seconds > limit_s:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return TOO_LONG, seconds
        time.sleep(0.02)


def _become_tests(root: Path, tests: tuple[str, ...]) -> None:
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
        import pytest

        words = ("-x", "-n", "0", "-p", "no:cacheprovider", "-m", FAST, "-W", LOADED_BEFORE, *tests)
        os._exit(int(pytest.main(list(words))))
    except BaseException:
        os._exit(FAILED)


def try_mutant(mutant: Mutant, root: Path, limit_s: float) -> Mutant:
    """Runs its room's tests on the tree with the change, and puts the file back."""
    path = root / mutant.path
    source = path.read_bytes()
    try:
        path.write_bytes(mutant.mutation.apply(source))
        status, seconds = run_tests(root, ROOMS[mutant.room].tests, limit_s)
    finally:
        path.write_bytes(source)
    return replace(mutant, seconds=seconds, survived=status == 0)


def copy_tree(target: Path) -> Path:
    """What the tests need of this tree, where it may be changed."""
    for name in PRODUCT:
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (*ROOT.glob("*.toml"), *ROOT.glob("*.md"), *ROOT.glob("*.txt"), ROOT / "Makefile"):
        shutil.copy2(path, target / path.name)
    return target


def main(words: list[str] | None = None) -> int:
    """The exit status: 1 where fewer were noticed than is asked for, or the tests fail as they are."""
    parser = argparse.ArgumentParser(description="Counts which small changes of the code the tests notice.")
    parser.add_argument("--rooms", nargs="+", choices=sorted(ROOMS), default=list(ROOMS))
    parser.add_argument("--count", type=int, default=64, help="mutants, in equal shares of the rooms")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--least", type=float, default=0.0, help="the share that must be noticed")
    parser.add_argument("--record", type=Path, help="a file for what became of each: those in it are done")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no further one after them")
    asked = parser.parse_args(words)
    until = time.monotonic() + asked.minutes * 60
    sample = sample_mutants(asked.rooms, asked.count, asked.seed)
    known = read_record(asked.record)
    done = [replace(one, **known[one.key]) for one in sample if one.key in known]
    left = [one for one in sample if one.key not in known]
    tell_survivors(done)
    if left:
        for name in HEAVY:
            importlib.import_module(name)
    with tempfile.TemporaryDirectory(prefix="velodrome-mutants-") as folder:
        root = copy_tree(Path(folder))
        limits: dict[str, float] = {}
        for mutant in left:
            if time.monotonic() > until:
                break
            if mutant.room not in limits and not measure_limit(mutant.room, root, limits, asked.record):
                return 1
            done.append(try_mutant(mutant, root, limits[mutant.room]))
            tell_survivors(done[-1:])
            write_record(asked.record, mutant.key, seconds=done[-1].seconds, survived=done[-1].survived)
    return report(done, asked.least)


def read_record(path: Path | None) -> dict[str, dict[str, Any]]:
    """What became of mutants, and the rooms' limits, by their names."""
    if path is None or not path.exists():
        return {}
    lines = map(json.loads, path.read_text().splitlines())
    return {line.pop("key"): line for line in lines}


def write_record(path: Path | None, key: str, **values: float) -> None:
    """One more."""
    if path is not None:
        with path.open("a") as file:
            file.write(json.dumps({"key": key, **values}) + "\n")


def measure_limit(room: str, root: Path, limits: dict[str, float], record: Path | None) -> bool:
    """How long the tests of a room may take; False where they fail on the tree as it is."""
    known = read_record(record).get(room)
    if known is None:
        status, seconds = run_tests(root, ROOMS[room].tests, None)
        if status != 0:
            print(f"the tests of {room} must pass as they are: pytest ended with {status}")
            return False
        known = {"limit_s": max(LEAST_LIMIT_S, SLOWER * seconds)}
        write_record(record, room, **known)
    limits[room] = known["limit_s"]
    return True


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
