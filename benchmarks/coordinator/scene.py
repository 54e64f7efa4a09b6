"""A sweep that trains nothing, and lanes that are only names."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from infra.coordinator.core import Coordinator
from infra.coordinator.messages import EpochReport, LaneHandshake
from infra.ledger.liveness import describe_this_process
from infra.ledger.store import Ledger
from infra.spec import Budget, FamilySpec, Objective, SweepSpec
from search_spaces.space import Space

if TYPE_CHECKING:
    from search_spaces.values import ParamValue

GOAL = "val/accuracy"
SPACE: dict[str, ParamValue] = {
    "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    "optimizer": {"type": "categorical", "choices": ["sgd", "adam", "rmsprop"]},
    "momentum": {"type": "float", "low": 0.0, "high": 0.99, "when": {"optimizer": ["sgd", "rmsprop"]}},
    "batch_size": {"type": "int", "low": 16, "high": 128, "log": True},
}
LANES, A_SECOND = 64, 2_000


def sweep_spec(trials: int, pruner: str, reports: int, sampler: str = "random") -> SweepSpec:
    """A sweep of one family that trains nothing."""
    family = FamilySpec(
        name="noop",
        reference="noop",
        space=Space.from_mapping(SPACE).to_json(),
        trials=trials,
        budget=Budget(epochs=reports),
        sampler={"name": sampler},
        pruner={"name": pruner},
    )
    goals = (Objective(metric=GOAL, direction="maximize"),)
    return SweepSpec(name="bench", objectives=goals, families=(family,))


def lane_handshake(number: int) -> LaneHandshake:
    """A lane that is only a name."""
    return LaneHandshake(
        lane=f"lane-{number}", shape="1x1cpu", host="elsewhere", pid=number, pid_started_at=0.0
    )


@dataclass
class Scene:
    """A ledger on disk with one sweep in it, and who coordinates it."""

    folder: Path
    spec: SweepSpec
    token: str = ""

    def __post_init__(self) -> None:
        self.url = f"sqlite:///{self.folder / f'ledger-{time.time_ns()}.db'}"
        self.ledger = Ledger(self.url, create=True)
        self.sweep_id = self.ledger.create_sweep(self.spec, fingerprint="none", facts={}, at=time.time())

    def coordinator(self) -> Coordinator:
        """One that takes the sweep over."""
        claimant = describe_this_process()
        self.token = claimant.token
        epoch, _ = self.ledger.claim(self.sweep_id, claimant, lambda owner: True)
        return Coordinator(self.ledger, self.sweep_id, epoch=epoch)


def epoch_report(epoch: int) -> EpochReport:
    """What a lane would report of an epoch."""
    metrics = {GOAL: 0.5, "val/loss": 0.7, "train/loss": 0.6, "train/epoch_seconds": 0.1}
    return EpochReport(epoch=epoch, metrics=metrics, at=time.time())
