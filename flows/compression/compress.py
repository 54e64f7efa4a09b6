"""`velodrome compress`: a smaller version of a kept model as a trial of its own, measured like any other."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from flows.compression.smaller_model import ModelSource, SmallerModel
from flows.config.lookup import sweep_in_ledger
from flows.sweeps.ownership import own_sweep
from flows.sweeps.recorded_state import check_recorded_sweep
from flows.sweeps.session import DRAIN_LIMIT_S, background_sender
from flows.terminal.json_results import PlainResult
from flows.terminal.next_command import next_command
from infra.errors import WrongInput
from infra.home import Home, storage_root
from infra.ledger import views
from infra.ledger.batch import WriteBatch
from infra.ledger.rows import SweepRow, TrialRow
from infra.ledger.store import Ledger
from infra.mirror import fetch, publish
from infra.names import quote_input, spell_family
from infra.spec import Resources
from infra.storage.paths import trial_folder
from trainers.compression.methods import CompressionMethod, parse_method
from trainers.loop.energy import read_energy
from trainers.loop.facts import spent_facts
from trainers.loop.progress import goal_value
from trainers.storage.atomic_folders import remove_folder
from trainers.types import Goal, JsonObject

ROLE = "search"


def compress(
    name: str,
    *,
    trial: int,
    how: str,
    family: str | None = None,
    epochs: int = 0,
    home: Home | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Compression:
    """Makes a trial's kept model smaller, in this process, and measures what comes of it.

    Args:
        name: the sweep's name or its file.
        trial: whose model; with `family` where several have that number.
        how: `int8` (a scale a row), `bf16`, or `prune:0.7` (that share of each tensor's weights at zero).
        epochs: of fine-tuning after pruning, at the trial's own learning rate.
        say: told of each epoch.

    Raises:
        WrongInput: no such sweep, trial or way, a trial without a model, a sweep that has not finished, or
            code or data that are not the sweep's.
        OwnedElsewhere: another process runs the sweep.
    """
    place, method = home or Home.from_environment(), _check_method(how, epochs)
    with sweep_in_ledger(name, place) as (ledger, row):
        with own_sweep(ledger, row) as ownership:
            row = views.sweep_by_id(ledger, row.id)
            source = _find_source(ledger, row, trial, family)
            check_recorded_sweep(row, place, families=[source.family])
            made, before = _make_trial(ledger, row, source, method, epochs, place, say)
            batch = _trial_batch(row, *made)
            ledger.commit(row.id, ownership.epoch, batch)
        with background_sender(row, place) as sender:
            unsent = sender.drain(DRAIN_LIMIT_S)
    fresh = made[0]
    assert fresh.objective is not None
    return Compression(
        sweep=row.label, family=fresh.family, number=fresh.number, made_of=source.number, how=method.text,
        metric=row.spec.objectives[0].metric, before=before, unsent=unsent,
        after=ModelSize(value=fresh.objective[0], size_bytes=float(fresh.facts["size_bytes"])),
    )  # fmt: skip


def _check_method(how: str, epochs: int) -> CompressionMethod:
    method = parse_method(how)
    if epochs < 0 or (epochs and method.method != "prune"):
        raise WrongInput(
            "--epochs must stand beside --how prune:SHARE", f"{epochs} beside {how}", "leave it out"
        )
    return method


def _find_source(ledger: Ledger, row: SweepRow, number: int, family: str | None) -> TrialRow:
    """The trial whose model is made smaller."""
    family = spell_family(family)
    found = [t for t in views.trials(ledger, row.id) if t.number == number and family in (None, t.family)]
    if len(found) != 1:
        do = (
            "give --family too"
            if found
            else f"`{next_command(f'status {row.label}', row.spec.ledger)}` lists them"
        )
        raise WrongInput("--trial must name one trial", f"{len(found)} trials #{number} in {row.label}", do)
    (trial,) = found
    what = f"{row.label}, {trial.family} #{number}"
    if row.state != "finished":
        do = f"`velodrome sweep {row.label}` runs it to its end"
        raise WrongInput(
            "a sweep must have finished for a trial to be added", f"{row.label} is {row.state}", do
        )
    if trial.compression is not None:
        made_of = trial.compression["number"]
        raise WrongInput(
            "a compressed model must be made of a trained one", f"{what} is made of #{made_of}",
            f"name #{made_of}",
        )  # fmt: skip
    if trial.model is None or trial.state != "complete":
        do = "sweep with keep: {models: all}"
        raise WrongInput("a compressed trial must have a model", f"{quote_input(what)} kept none", do)
    return trial


def _make_trial(
    ledger: Ledger,
    row: SweepRow,
    source: TrialRow,
    how: CompressionMethod,
    epochs: int,
    home: Home,
    say: Callable[[str], None],
) -> tuple[tuple[TrialRow, SmallerModel], ModelSize]:
    began_at, began, storage = time.time(), time.monotonic(), storage_root(home, row.spec)
    joules = read_energy()
    number = 1 + max(t.number for t in views.trials(ledger, row.id) if t.family == source.family)
    relative = trial_folder(row.label, ROLE, source.family, number) / "model-1"
    folder, bundle = storage / relative, storage / str(source.model)
    remove_folder(folder)  # what a command that died while writing left behind
    fetch(bundle, exact=True)
    origin: JsonObject = {"compressed": {"number": source.number, "how": how.text, "epochs": epochs}}
    about: JsonObject = {
        "sweep": row.label, "family": source.family, "number": number, "role": ROLE, "seed": source.seed,
        **origin,
    }  # fmt: skip
    try:
        made = ModelSource(row, source, bundle, home).make_smaller(folder, how, epochs, about, say)
        facts = {**source.facts, **made.facts, **_spent(row, began, joules)}
        values = [_goal(row, place, made, facts) for place in range(len(row.spec.objectives))]
        publish(folder)
    except BaseException:  # an interrupt too: nothing half made stays in the storage
        remove_folder(folder)
        raise
    trial = TrialRow(
        role=ROLE, family=source.family, number=number, params=source.params, seed=source.seed,
        state="complete", attempts=1, objective=values, epoch=made.epoch, epochs=len(made.reports),
        seconds=time.monotonic() - began, metrics=made.metrics, facts=facts, model=str(relative),
        origin=origin, created_at=began_at, started_at=began_at, ended_at=max(began_at, time.time()),
    )  # fmt: skip
    assert source.objective is not None
    return (trial, made), ModelSize(value=source.objective[0], size_bytes=_stored_size(source, bundle))


def _spent(row: SweepRow, began: float, joules: float | None) -> dict[str, float]:
    """What making it took, on one processor; what training its source took is the source's."""
    now = read_energy()
    used = None if now is None or joules is None else now - joules
    return spent_facts(time.monotonic() - began, used, row.spec.costs_per_second(Resources()))


def _goal(row: SweepRow, place: int, made: SmallerModel, facts: JsonObject) -> float:
    goal = row.spec.objectives[place]
    numbers = {name: float(v) for name, v in facts.items() if isinstance(v, (int, float))}
    wanted = Goal(metric=goal.metric, maximize=goal.direction == "maximize")
    return goal_value({**numbers, **made.metrics}, wanted)


def _stored_size(source: TrialRow, bundle: Path) -> float:
    known = source.facts.get("size_bytes")
    return float(known) if known is not None else float((bundle / "weights.safetensors").stat().st_size)


def _trial_batch(row: SweepRow, trial: TrialRow, made: SmallerModel) -> WriteBatch:
    """The trial as a lane's would stand there: asked for, tried once, reported, ended; the family has room
    for one more."""
    now = time.time()
    grown = tuple(
        replace(entry, trials=entry.trials + 1, compressed=entry.compressed + 1)
        if entry.name == trial.family
        else entry
        for entry in row.spec.families
    )
    batch = WriteBatch(sweep={"spec": replace(row.spec, families=grown), "updated_at": now})
    attempt = f"{row.id}-{ROLE}-{trial.family}-{trial.number}-1"
    where = {"host": socket.gethostname(), "pid": os.getpid(), "workers": 1, "cpus": 1.0, "gpus": 0.0}
    batch.add_event("grown", now, {"families": {trial.family: row.spec.family(trial.family).trials + 1}})
    batch.add_event("asked", trial.created_at, {"params": trial.params, "origin": trial.origin}, trial)
    batch.set_attempt(
        attempt, role=ROLE, family=trial.family, number=trial.number, ordinal=1, lane="compress",
        lane_facts=json.dumps(where), started_at=trial.started_at, ended_at=trial.ended_at,
        outcome="complete", detail="",
    )  # fmt: skip
    started: JsonObject = {"attempt": attempt, "ordinal": 1, "lane": "compress"}
    batch.add_event("started", trial.created_at, started, trial)
    for epoch, metrics in made.reports.items():
        batch.add_event("reported", now, {"epoch": epoch, "metrics": metrics}, trial)
    batch.add_event("model", now, {"path": trial.model}, trial)
    ended: JsonObject = {"attempt": attempt, "outcome": "complete", "detail": ""}
    batch.add_event("attempt-ended", now, ended, trial)
    batch.add_event("ended", now, {"state": "complete", "objective": trial.objective, "reason": None}, trial)
    return batch


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSize(PlainResult):
    """A trial's first objective on validation, and what its model's weights take."""

    value: float
    size_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression(PlainResult):
    """A trial whose model is a smaller version of another trial's.

    Attributes:
        number: of the new trial; `made_of`: of the one whose model was made smaller.
        unsent: how many things tracking has not got.
    """

    sweep: str
    family: str
    number: int
    made_of: int
    how: str
    metric: str
    before: ModelSize
    after: ModelSize
    unsent: int
