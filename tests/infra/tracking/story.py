"""A sweep told to a ledger without a coordinator: what happened, with times of its own."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.home import Home
from infra.ledger.batch import WriteBatch
from infra.ledger.rows import OwnerRow, TrialRow
from infra.ledger.store import Ledger
from infra.spec import Budget, FamilySpec, Objective, SweepSpec
from infra.tracking.client import Connect, connect
from infra.tracking.sender import Sender

BEGAN = 1_790_000_000.0
SPACE = {
    "parameters": [
        {"name": "learning_rate", "type": "float", "low": 1e-4, "high": 1e-1, "log": True},
        {"name": "optimizer", "type": "categorical", "choices": ["sgd", "adam"]},
        {"name": "momentum", "type": "float", "low": 0.0, "high": 0.99, "when": {"optimizer": ["sgd"]}},
        {"name": "hidden", "type": "constant", "value": 64},
    ]
}
FACTS = {
    "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": True},
    "versions": {"python": "3.11.2", "torch": "2.13.0", "velodrome": "0.1.0"},
    "command": "velodrome sweep digits.yaml",
    "user": "ada",
}


def a_spec(name: str = "digits", **changes: Any) -> SweepSpec:
    """Two families, one objective."""
    values: dict[str, Any] = {
        "name": name,
        "data": {"source": "builtin:digits", "task": "classification"},
        "objectives": (Objective(metric="val/accuracy", direction="maximize"),),
        "families": tuple(
            FamilySpec(
                name=n, reference="tests.infra.tracking.story:plain", space=SPACE, budget=Budget(epochs=5)
            )
            for n in ("image_cnn", "rnn")
        ),
    }
    return SweepSpec(**{**values, **changes})


def plain_function(trial: Any) -> None:
    """A family that is a plain function: it has no defaults."""


@dataclass
class Story:
    """Writes one sweep into a ledger, event by event; every event is one second after the last."""

    folder: Path
    spec: SweepSpec = field(default_factory=a_spec)
    facts: dict[str, Any] = field(default_factory=lambda: dict(FACTS))
    now: float = BEGAN

    def __post_init__(self) -> None:
        self.home = Home(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ledger = Ledger(self.home.ledger_url, create=True)
        self.sweep_id = self.ledger.create_sweep(
            self.spec, fingerprint="f" * 32, facts=self.facts, at=self.now
        )
        owner = OwnerRow(epoch=0, token=uuid.uuid4().hex, host="here", pid=1, pid_started_at=0.0)
        self.epoch, _ = self.ledger.claim(self.sweep_id, owner, lambda present: True)

    def tell(self, kind: str, payload: dict[str, Any], trial: TrialRow | None = None, **sweep: Any) -> None:
        """Commits one event."""
        self.now += 1.0
        batch = WriteBatch()
        batch.add_event(kind, self.now, payload, trial)
        batch.sweep.update(sweep)
        self.ledger.commit(self.sweep_id, self.epoch, batch)

    def ask(self, family: str, number: int, role: str = "search", **params: Any) -> TrialRow:
        """A trial that waits."""
        sampled = {"learning_rate": 0.01 / (number + 1), "optimizer": "adam", "hidden": 64, **params}
        trial = TrialRow(
            role=role, family=family, number=number, params=sampled, seed=number, created_at=self.now
        )
        self.tell("asked", {"params": sampled}, trial)
        return trial

    def start(self, trial: TrialRow) -> TrialRow:
        """An attempt begins."""
        trial.state, trial.attempts = "running", trial.attempts + 1
        trial.started_at = trial.started_at or self.now + 1
        self.tell("started", {"attempt": "a", "ordinal": trial.attempts, "lane": "l"}, trial)
        return trial

    def report(self, trial: TrialRow, epoch: int, accuracy: float, **more: float) -> None:
        """One report."""
        trial.epochs = epoch
        metrics = {
            "val/accuracy": accuracy,
            "val/loss": 1.0 - accuracy,
            "train/loss": 1.1 - accuracy,
            "train/accuracy": min(accuracy + 0.05, 1.0),
            "train/learning_rate": trial.params["learning_rate"],
            "train/epoch_seconds": 0.4,
            "train/examples_per_second": 3500.0 + 10 * epoch,
            "system/cpu_percent": 97.0,
            **more,
        }
        self.tell("reported", {"epoch": epoch, "metrics": metrics}, trial)

    def end(self, trial: TrialRow, state: str, value: float | None = None, reason: str | None = None) -> None:
        """The trial has its final state."""
        trial.state, trial.reason, trial.ended_at = state, reason, self.now + 1
        trial.objective = None if value is None else [value]
        trial.epoch = trial.epochs
        trial.metrics = {} if value is None else {"val/accuracy": value, "val/loss": 1 - value}
        trial.facts = {"parameters": 9000, "size_bytes": 36000, "train_seconds": 1.9, "host": "here"}
        self.tell("ended", {"state": state, "objective": trial.objective, "reason": reason}, trial)

    def complete_trial(
        self, family: str, number: int, value: float = 0.9, epochs: int = 5, **params: Any
    ) -> TrialRow:
        """A complete trial from start to end."""
        trial = self.start(self.ask(family, number, **params))
        for epoch in range(1, epochs + 1):
            self.report(trial, epoch, value * epoch / epochs)
        self.end(trial, "complete", value)
        return trial

    def conclude(self, state: str = "finished") -> None:
        """The sweep ends."""
        self.tell(state, {"state": state}, None, state=state, updated_at=self.now)

    def sender(self, uri: str | None = None, connect: Connect = connect, **more: Any) -> Sender:
        """A sender of this sweep."""
        return Sender(
            self.home.ledger_url,
            self.sweep_id,
            uri=uri or self.home.mlflow_uri,
            home=self.home,
            storage=self.home.storage,
            environ={},
            connect=connect,
            clock=lambda: self.now,
            **more,
        )
