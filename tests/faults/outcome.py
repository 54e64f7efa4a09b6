"""What one injected fault came to: the columns of the table in `docs/faults.md`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was counted after a fault; a column that has no meaning for a case is None.

    Attributes:
        lost: trials that were asked for and ended in no state.
        duplicated: trials with two results, or trained by two at once.
        orphaned: processes, actors, lock files, rows and MLflow runs that are RUNNING without an owner.
        silent: results that are wrong without an error.
        wasted: epochs trained more than once, over epochs needed.
        detect_s: seconds from the fault to its state in the ledger.
        restore_s: seconds from the fault to the first new step.
        note: what else was held against the promise, in a few words.
    """

    lost: int = 0
    duplicated: int = 0
    orphaned: int = 0
    silent: int = 0
    wasted: float | None = None
    detect_s: float | None = None
    restore_s: float | None = None
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing was lost, duplicated, orphaned or silently wrong."""
        return not (self.lost or self.duplicated or self.orphaned or self.silent)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "passed": self.passed}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long a case may take: as long as in the catalogue, or scaled down for each change."""

    fast: bool

    def scaled(self, seconds: float) -> float:
        """A lease, a time-out or a pause: a twentieth of it when fast."""
        return seconds / 20 if self.fast else seconds


Run = Callable[[Path, Pace], Outcome]
LIMIT_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One fault of the catalogue.

    Attributes:
        id: `F01` … `F55`.
        title: the fault, in a few words.
        run: injects it in an empty folder and counts; raises AssertionError where a promise did not hold.
        fast: whether it belongs to those that run on each change.
        ray: whether it starts Ray.
        slow: whether it takes more than ten seconds on each change, as all that start Ray do.
        limit_s: what takes longer is ended, and has failed.
    """

    id: str
    title: str
    run: Run
    fast: bool
    ray: bool
    slow: bool = False
    limit_s: float = LIMIT_S


CASES: dict[str, Case] = {}


def case(
    id: str,
    title: str,
    *,
    fast: bool = False,
    ray: bool = False,
    slow: bool = False,
    limit_s: float = LIMIT_S,
) -> Callable[[Run], Run]:
    """Puts a function into the catalogue; ids are unique."""

    def enter(run: Run) -> Run:
        if id in CASES:
            raise ValueError(f"{id} stands in the catalogue twice")
        CASES[id] = Case(id=id, title=title, run=run, fast=fast, ray=ray, slow=slow or ray, limit_s=limit_s)
        return run

    return enter
