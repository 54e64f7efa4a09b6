"""Sweeps of one trial that was really trained, in this process and as a lane does it, without Ray."""

from __future__ import annotations

import json
import time
from pathlib import Path

from flows.sweeps.preparation import prepare_sweep, sweep_facts
from infra.coordinator.messages import Assignment
from infra.home import Home
from infra.lanes.attempt import AttemptRunner
from infra.lanes.settings import LaneSettings
from infra.ledger.batch import WriteBatch
from infra.ledger.rows import TrialRow
from infra.ledger.store import Ledger
from infra.spec import Resources
from trainers.types import Ranks


class Recorder:
    """Hooks that keep every report, and prune after one of them where asked."""

    def __init__(self, prune_at: int | None) -> None:
        self.prune_at, self.reports = prune_at, {}

    def report(self, epoch, metrics):
        self.reports[epoch] = dict(metrics)
        return epoch != self.prune_at

    def alive(self, step):
        return

    def stopping(self):
        return False

    def save(self, tensors, document):
        return

    def load(self):
        return None


def train_and_write(home: Home, file: Path | str, params: dict, *, prune_at: int | None = None) -> TrialRow:
    """Trains trial 0 of the file's only family, and writes the sweep with it into the home's ledger."""
    prepared = prepare_sweep(file, (), home)
    spec, (family,) = prepared.spec, prepared.spec.families
    settings = LaneSettings(
        run="test", shape="", resources=Resources(), spec=spec.to_json(), base=str(prepared.base),
        storage=str(home.storage), cache=str(home.cache), logs=str(home.logs), fingerprint="",
    )  # fmt: skip
    asked = Assignment(
        attempt="1", role="search", family=family.name, number=0, ordinal=1, params=params, seed=11
    )
    hooks = Recorder(prune_at)
    ended = AttemptRunner(settings, device="cpu", ranks=Ranks()).run(asked, hooks)
    last = max(hooks.reports, default=0)
    pruned = ended.outcome == "pruned"
    trial = TrialRow(
        role="search", family=family.name, number=0, params=params, seed=11, state=ended.outcome, attempts=1,
        objective=list(ended.objective) or None, epoch=last if pruned else ended.epoch, epochs=last,
        metrics=dict(hooks.reports[last]) if pruned else dict(ended.metrics), facts=dict(ended.facts),
        model=ended.model, reason=ended.detail or None, ended_at=time.time(),
    )  # fmt: skip
    _write(home, prepared, trial, hooks.reports)
    return trial


def _write(home: Home, prepared, trial: TrialRow, reports: dict) -> None:
    ledger = Ledger(home.ledger_url, create=True)
    facts, fingerprint = sweep_facts(prepared), prepared.fingerprint
    sweep = ledger.create_sweep(prepared.spec, fingerprint=fingerprint, facts=facts, at=time.time())
    batch = WriteBatch(sweep={"state": "finished"})
    batch.add_event("asked", 1.0, {"params": trial.params}, trial)
    batch.set_attempt(
        f"{sweep}-search-{trial.family}-0-1", role="search", family=trial.family, number=0, ordinal=1,
        lane="lane-0", lane_facts=json.dumps({"workers": 1, "cpus": 1.0, "gpus": 0.0}), started_at=1.0,
        ended_at=2.0, outcome=trial.state,
    )  # fmt: skip
    for epoch, metrics in reports.items():
        batch.add_event("reported", 1.0, {"epoch": epoch, "metrics": metrics}, trial)
    ledger.add_events(sweep, batch)
    ledger.close()


def change_facts(home: Home, name: str, **facts) -> None:
    """Changes what the ledger keeps of a sweep beside its specification."""
    from flows.config.lookup import open_sweep

    ledger, row = open_sweep(name, home)
    ledger.add_events(row.id, WriteBatch(sweep={"facts": {**row.facts, **facts}}))
    ledger.close()
