"""A ledger in a folder, a clock by hand, and a coordinator on top of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from infra.coordinator.core import Coordinator
from infra.coordinator.messages import AttemptResult, EpochReport, LaneHandshake, LaneWork
from infra.ledger.rows import OwnerRow
from infra.ledger.store import Ledger
from infra.spec import Budget, FamilySpec, Objective, SweepSpec
from search_spaces.space import Space
from tests.postgres import Postgres, run_postgres

SPACE = {
    "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    "optimizer": {"type": "categorical", "choices": ["sgd", "adam", "rmsprop"]},
    "momentum": {"type": "float", "low": 0.0, "high": 0.99, "when": {"optimizer": ["sgd", "rmsprop"]}},
}
GOAL = "val/accuracy"


@dataclass
class Clock:
    """Seconds that pass when told to."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


def family(name: str = "noop", **changes: object) -> FamilySpec:
    """A family with a small space."""
    space = Space.from_mapping(SPACE).to_json()
    defaults = {"name": name, "reference": name, "space": space, "trials": 6, "budget": Budget(epochs=4)}
    return FamilySpec(**{**defaults, **changes})  # type: ignore[arg-type]


def sweep(*families: FamilySpec, **changes: object) -> SweepSpec:
    """A sweep that maximises validation accuracy."""
    goals = (Objective(metric=GOAL, direction="maximize"),)
    defaults = {"name": "try", "objectives": goals, "families": families or (family(),)}
    return SweepSpec(**{**defaults, **changes})  # type: ignore[arg-type]


@dataclass
class Bench:
    """One ledger and whoever coordinates on it now."""

    folder: Path
    clock: Clock = field(default_factory=Clock)
    steady: Clock | None = None  # where it is not the clock itself
    token: str = "driver-1"
    url: str = ""

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.url = self.url or f"sqlite:///{self.folder / 'ledger.db'}"
        self.ledger = Ledger(self.url, create=True)
        self.sweep_id = 0

    def begin(self, spec: SweepSpec, facts: Mapping[str, Any] | None = None) -> Coordinator:
        """Creates the sweep and coordinates it."""
        self.sweep_id = self.ledger.create_sweep(
            spec, fingerprint="f", facts=dict(facts or {}), at=self.clock()
        )
        return self.take_over()

    def take_over(
        self, *, same_driver: bool = False, role: str = "search", token: str | None = None
    ) -> Coordinator:
        """A new coordinator on the same ledger, as after a death of the former."""
        self.token = token or self.token
        me = OwnerRow(epoch=0, token=self.token, host="h", pid=1, pid_started_at=0.0)
        if same_driver:
            epoch = self.ledger.raise_epoch(self.sweep_id, self.token)
        else:
            epoch, _ = self.ledger.claim(self.sweep_id, me, lambda owner: True)
        return Coordinator(
            self.ledger,
            self.sweep_id,
            epoch=epoch,
            role=role,
            same_driver=same_driver,
            clock=self.clock,
            steady=self.steady or self.clock,
        )


def hello(lane: str = "lane-0", pid: int = 100) -> LaneHandshake:
    """A lane's process."""
    return LaneHandshake(lane=lane, shape="1x1cpu", host="h", pid=pid, pid_started_at=float(pid))


def score(params: dict[str, object], epoch: int) -> float:
    """A made-up accuracy that depends on the parameters and rises by epoch."""
    import math

    rate = float(params["learning_rate"])  # type: ignore[arg-type]
    return 1.0 / (1.0 + abs(math.log10(rate) + 2.5)) * (1 - 0.5**epoch)


def run_attempt(
    coordinator: Coordinator,
    work: LaneWork,
    me: LaneHandshake,
    *,
    epochs: int = 4,
    value: Callable[..., float] = score,
) -> AttemptResult:
    """Trains the assignment in no time, deciding where the pruner can."""
    (assignment,) = work.attempts
    held: list[EpochReport] = []
    reached, values = 0, {}
    for epoch in range(1, epochs + 1):
        reached = epoch
        values[epoch] = value(dict(assignment.params), epoch)
        held.append(EpochReport(epoch=epoch, metrics={GOAL: values[epoch]}, at=coordinator._clock()))
        deciding = epoch in assignment.deciding
        if deciding and not coordinator.decide(me, assignment.attempt, held):
            return AttemptResult(attempt=assignment.attempt, outcome="pruned", epochs=reached)
        if deciding:
            held = []
    coordinator.heartbeat(me, assignment.attempt, held)
    best = max(values, key=lambda e: (values[e], -e))
    return AttemptResult(
        attempt=assignment.attempt, outcome="complete", objective=(values[best],), epoch=best, epochs=reached,
        metrics={GOAL: values[best]},
    )  # fmt: skip


def drive(coordinator: Coordinator, me: LaneHandshake, *, most: int = 1_000, **options: object) -> int:
    """One lane pulls attempts until it may leave; returns how many it made."""
    coordinator.register_lane(me)
    ended, made = None, 0
    while made < most:
        work = coordinator.next_attempts(me, ended=ended)
        ended = None
        if work.leave:
            break
        if work.attempts:
            ended = run_attempt(coordinator, work, me, **options)  # type: ignore[arg-type]
            made += 1
    return made


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A fresh ledger."""
    made = Bench(tmp_path)
    yield made
    made.ledger.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL server; the test is skipped where none is installed."""
    with run_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def any_bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """A fresh ledger of each kind."""
    url = request.getfixturevalue("postgres").database() if request.param == "postgresql" else ""
    made = Bench(tmp_path, url=url)
    yield made
    made.ledger.close()
