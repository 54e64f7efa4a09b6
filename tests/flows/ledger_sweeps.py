"""Sweeps written straight into a ledger, so that reading them needs no Ray and no training."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from infra.home import Home
from infra.ledger.batch import WriteBatch
from infra.ledger.liveness import describe_this_process
from infra.ledger.rows import OwnerRow, TrialRow
from infra.ledger.store import Ledger
from infra.spec import Budget, FamilySpec, Objective, SweepSpec

ACCURACY = Objective(metric="val/accuracy", direction="maximize")
LATENCY = Objective(metric="latency_ms", direction="minimize")


def spec_of(
    name: str = "digits",
    *,
    version: int = 1,
    objectives: tuple[Objective, ...] = (ACCURACY,),
    trials: int = 4,
) -> SweepSpec:
    families = (
        FamilySpec(name="text_cnn", reference="text_cnn", trials=trials, budget=Budget(epochs=5)),
        FamilySpec(name="image_cnn", reference="image_cnn", trials=trials, budget=Budget(epochs=5)),
    )
    return SweepSpec(name=name, version=version, objectives=objectives, families=families)


def trial_of(family: str, number: int, state: str, value: float | None = None, **more: Any) -> TrialRow:
    params = {"optimizer": "adam", "learning_rate": 0.003 * (number + 1), "filter_widths": [3, 4, 5]}
    filled: dict[str, Any] = {
        "params": params,
        "seed": 7 + number,
        "attempts": 0 if state == "waiting" else 1,
        "objective": None if value is None else [value],
        "epoch": 3 if value is not None else 0,
        "epochs": 5 if value is not None else 0,
        "seconds": 1.9,
        "facts": {"parameters": 52_138, "size_bytes": 210_944, "latency_ms": 1.25, "train_seconds": 1.7},
        "created_at": time.time(),
        "ended_at": time.time() if state in {"complete", "pruned", "failed"} else None,
    }
    return TrialRow(role="search", family=family, number=number, state=state, **{**filled, **more})


TRIALS = (
    ("text_cnn", 0, "complete", 0.91, {}),
    ("text_cnn", 1, "failed", None, {"reason": "out-of-memory: 3.1 GiB [bold]asked[/bold] for"}),
    ("image_cnn", 0, "complete", 0.97, {}),
    ("image_cnn", 1, "complete", 0.985, {"model": "digits/models/image_cnn-1"}),
    ("image_cnn", 2, "pruned", 0.31, {"epochs": 1}),
    ("image_cnn", 3, "running", 0.5, {}),
)


def write_sweep(
    home: Home,
    spec: SweepSpec | None = None,
    *,
    state: str = "finished",
    trials: tuple[TrialRow, ...] | None = None,
    facts: dict[str, Any] | None = None,
    fingerprint: str = "f" * 32,
) -> int:
    """A sweep with trials in every state, a curve and attempts; returns its id."""
    spec = spec or spec_of()
    rows = trials if trials is not None else tuple(trial_of(f, n, s, v, **m) for f, n, s, v, m in TRIALS)
    ledger = Ledger(home.ledger_url, create=True)
    known = facts if facts is not None else {"trivial": {"val/accuracy": 0.11}}
    sweep = ledger.create_sweep(spec, fingerprint=fingerprint, facts=known, at=time.time())
    batch = WriteBatch(sweep={"state": state})
    for row in rows:
        batch.add_event("asked", time.time(), {"params": row.params}, row)
        for ordinal in range(1, row.attempts + 1):
            batch.set_attempt(
                f"{sweep}-{row.role}-{row.family}-{row.number}-{ordinal}",
                role=row.role, family=row.family, number=row.number, ordinal=ordinal, lane="lane-0",
                lane_facts=json.dumps({"host": "here", "pid": 12}), started_at=time.time() - 2,
                ended_at=time.time(), outcome=row.state, detail=None,
            )  # fmt: skip
        for epoch in range(1, row.epochs + 1):
            metrics = {"val/accuracy": (row.value or 0.0) - 0.01 * abs(3 - epoch), "val/loss": 1.0 / epoch}
            batch.add_event("reported", time.time(), {"epoch": epoch, "metrics": metrics}, row)
    ledger.add_events(sweep, batch)
    ledger.close()
    return sweep


def set_owner(home: Home, sweep: int, owner: OwnerRow) -> None:
    """Makes a process the sweep's owner."""
    ledger = Ledger(home.ledger_url)
    ledger.claim(sweep, owner, may_take=lambda present: True)
    ledger.close()


def living_owner() -> OwnerRow:
    """This very process."""
    return describe_this_process()


def dead_owner() -> OwnerRow:
    """A process of this host that is there no more: the pid is ours, the start time is not."""
    mine = describe_this_process()
    return OwnerRow(
        epoch=0, token="dead", host=mine.host, pid=mine.pid, pid_started_at=1.0
    )  # fmt: skip


def write_logs(home: Home, label: str = "digits") -> Path:
    """A driver's log and one attempt's."""
    folder = home.logs / label
    folder.mkdir(parents=True)
    (folder / "driver.log").write_text("lanes are up\n")
    (folder / "image_cnn-0001-1.log").write_text("epoch 1\nepoch 2 ✓\n")
    return folder
