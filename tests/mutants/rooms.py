"""Where decisions are made, the tests that are to notice a change there, and samples of such changes."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from tests.mutants.mutations import Mutation, find_mutations

ROOT = Path(__file__).resolve().parents[2]


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
        files=("infra/coordinator/*.py", "infra/coordinator/shell/[!a]*.py"),
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
    by: str = ""  # the test that noticed it

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
