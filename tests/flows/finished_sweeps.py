"""Sweeps made by the coordinator's own core in no time: Optuna's studies are in the ledger too."""

from __future__ import annotations

from typing import Any

from infra.coordinator.core import Coordinator
from infra.coordinator.messages import AttemptResult, EpochReport
from infra.home import Home
from infra.ledger.rows import OwnerRow
from infra.ledger.store import Ledger
from infra.spec import FamilySpec, SweepSpec
from tests.infra.conftest import GOAL, Clock, family, hello, score, sweep

RANDOM = {"name": "random"}
NONE = {"name": "none"}


def finish_sweep(
    home: Home, spec: SweepSpec | None = None, *, fail: tuple[int, ...] = (), **facts: Any
) -> SweepSpec:
    """A finished sweep in the home's ledger; trials of the numbers in `fail` end in an error."""
    spec = spec or sweep(
        family("image_cnn", trials=16, sampler=RANDOM),
        family("rnn", trials=16, sampler=RANDOM, pruner=NONE),
        name="digits",
    )
    home.path.mkdir(parents=True, exist_ok=True)
    ledger, clock = Ledger(home.ledger_url, create=True), Clock()
    known = {"data": {"parts": {"train": 1400, "validation": 400}}, "trivial": {GOAL: 0.1}, **facts}
    sweep_id = ledger.create_sweep(spec, fingerprint="f" * 32, facts=known, at=clock())
    owner = OwnerRow(epoch=0, token="t", host="h", pid=1, pid_started_at=0.0)
    epoch, _ = ledger.claim(sweep_id, owner, lambda present: True)
    core = Coordinator(ledger, sweep_id, epoch=epoch, clock=clock)
    _run(core, clock, spec, fail)
    ledger.release(sweep_id, "t")
    ledger.close()
    return spec


def _run(core: Coordinator, clock: Clock, spec: SweepSpec, fail: tuple[int, ...]) -> None:
    me, ended = hello(), None
    core.register_lane(me)
    while True:
        work = core.next_attempts(me, ended=ended)
        if work.leave:
            break
        ended = _train(core, clock, spec, work.attempts[0], fail)
    core.tick()


def _train(
    core: Coordinator, clock: Clock, spec: SweepSpec, given: Any, fail: tuple[int, ...]
) -> AttemptResult:
    if given.number in fail:
        return AttemptResult(
            attempt=given.attempt, outcome="failed", reason="error", detail="<b>boom</b>\nTraceback"
        )
    budget, values = spec.family(given.family).budget.reports, []
    for epoch in range(1, budget + 1):
        clock.now += 0.5
        values.append(score(dict(given.params), epoch))
        report = EpochReport(epoch=epoch, metrics={GOAL: values[-1], "val/loss": 1 - values[-1]}, at=clock())
        decides = epoch in given.deciding
        if decides and not core.decide(hello(), given.attempt, [report]):
            return AttemptResult(attempt=given.attempt, outcome="pruned", epochs=epoch)
        if not decides:
            core.heartbeat(hello(), given.attempt, [report])
    goals = {GOAL: values[-1], "latency_ms": 1.0 + 1e3 * given.params["learning_rate"]}
    return AttemptResult(
        attempt=given.attempt, outcome="complete", epoch=budget, epochs=budget, metrics={GOAL: values[-1]},
        objective=tuple(goals[goal.metric] for goal in spec.objectives),
        facts={"parameters": 500.0, "size_bytes": 2_000.0, "latency_ms": goals["latency_ms"]},
    )  # fmt: skip


def rename_family(spec: FamilySpec, name: str, space: dict[str, Any]) -> FamilySpec:
    """A family of any name with any space, as another version may have written it into a ledger."""
    from dataclasses import replace

    return replace(spec, name=name, space=space)
