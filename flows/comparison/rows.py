"""The rows of a comparison, from the ledger."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.comparison.groups import tables_of_trial
from flows.comparison.records import COSTS, ErrorEstimate, Row, Spread, spread_of
from flows.sweeps.views.states import in_file_order
from infra.errors import WrongInput
from infra.home import Home, storage_root
from infra.ledger import views
from infra.ledger.ranking import finite_values, model_size, pareto_front, rank_trials
from infra.ledger.rows import AttemptRow, SweepRow, TrialRow, attempt_seconds
from infra.ledger.store import Ledger
from infra.mirror import fetch_file
from trainers.storage.atomic_folders import MANIFEST, manifest_hash

SHARES = frozenset({"accuracy", "exact_match"})
"""Metrics that are a share of examples: their error over examples follows from the share itself."""


def best_rows(ledger: Ledger, sweep: SweepRow, home: Home, top: int = 1) -> tuple[list[Row], list[str]]:
    """Rows of the best `top` trials of each family, and the names of families without a complete trial."""
    trials = in_file_order(sweep.spec, views.trials(ledger, sweep.id, role=None))
    rows: list[Row] = []
    missing: list[str] = []
    for family in sweep.spec.families:
        mine = [trial for trial in trials if trial.family == family.name]
        searched = [trial for trial in mine if trial.role == "search"]
        chosen = _best_trials(searched, sweep, top)
        if not chosen:
            missing.append(family.name)
        complete = [values[0] for t in searched if (values := _values(t, sweep)) is not None]
        attempts = _attempts(ledger, sweep, chosen)
        rows += [_row(sweep, trial, mine, complete, attempts, home) for trial in chosen]
    return rows, missing


def _best_trials(trials: Sequence[TrialRow], sweep: SweepRow, top: int) -> list[TrialRow]:
    """The best by the first objective; with several objectives those of the front come first."""
    goals = sweep.spec.objectives
    best = rank_trials(trials, goals)
    if len(goals) > 1 and top > 1:
        ahead = {trial.number for trial in pareto_front(trials, goals)}
        best.sort(key=lambda trial: trial.number not in ahead)
    return best[:top]


def _values(trial: TrialRow, sweep: SweepRow) -> tuple[float, ...] | None:
    return finite_values(trial, sweep.spec.objectives) if trial.state == "complete" else None


def _attempts(ledger: Ledger, sweep: SweepRow, chosen: Sequence[TrialRow]) -> list[AttemptRow]:
    return [
        attempt
        for trial in chosen
        for attempt in views.attempts(ledger, sweep.id, trial.family, trial.number)
        if attempt.role == trial.role
    ]


def _row(
    sweep: SweepRow,
    trial: TrialRow,
    family: Sequence[TrialRow],
    complete: Sequence[float],
    attempts: Sequence[AttemptRow],
    home: Home,
) -> Row:
    goal = sweep.spec.objectives[0]
    short = goal.metric.rpartition("/")[2]
    again = [t for t in family if _is_confirmation(t, trial)]
    by_seed = {_seed_index(t): v[0] for t in again if (v := _values(t, sweep)) is not None}
    tested = [t.metrics[f"test/{short}"] for t in again if f"test/{short}" in t.metrics]
    trivial = sweep.facts.get("trivial") or {}
    confirmed = spread_of(list(by_seed.values()), goal.direction)
    data = sweep.facts.get("data") or {}
    rows = (data.get("different") or data.get("parts", {})).get("validation")  # a copy tells nothing new
    values = finite_values(trial, sweep.spec.objectives) or ()
    folder, manifest = _model(trial, sweep, home)
    by_examples = _example_error(goal.metric, values[0], rows)
    costs = {name: _cost_value(trial, name) for name in COSTS}
    held = _held_costs([a for a in attempts if a.number == trial.number], trial.seconds, sweep)
    costs |= {name: value for name, value in held.items() if name not in trial.facts}
    costs["gpu_seconds"] = costs["gpu_seconds"] or None  # without a GPU there is no column of zeros
    return Row(
        sweep=sweep.label, family=trial.family, number=trial.number,
        goals=tuple(entry.metric for entry in sweep.spec.objectives), values=values, params=trial.params,
        size=model_size(trial),
        error=_error_estimate(confirmed, by_examples, rows), example_error=by_examples,
        trials=spread_of(complete, goal.direction), confirmed=confirmed, confirmed_values=by_seed,
        tested=spread_of(tested, goal.direction),
        trivial=trivial.get(goal.metric, trivial.get(short)), costs=costs,
        groups=tables_of_trial(trial.metrics, data.get("groups", {})),
        latency_from="lane" if costs["latency_ms"] is not None else None, metrics=dict(trial.metrics),
        data_fingerprint=sweep.fingerprint or None, validation_rows=rows, model=folder, manifest=manifest,
    )  # fmt: skip


def _error_estimate(
    confirmed: Spread | None, by_examples: float | None, rows: int | None
) -> ErrorEstimate | None:
    if confirmed is not None and confirmed.std is not None:
        return ErrorEstimate(std=confirmed.std, over="seeds", count=confirmed.count)
    if by_examples is not None and rows is not None:
        return ErrorEstimate(std=by_examples, over="examples", count=rows)
    return None


def _example_error(metric: str, value: float, rows: int | None) -> float | None:
    """Of a share of right answers sqrt(p (1 - p) / n) with two right and two wrong ones added: all right is
    no certainty (Agresti and Coull 1998, The American Statistician 52, 119–126)."""
    prefix, _, short = metric.rpartition("/")
    if short not in SHARES or prefix != "val" or not rows or not 0.0 <= value <= 1.0:
        return None
    share = (value * rows + 2) / (rows + 4)
    return math.sqrt(share * (1.0 - share) / (rows + 4))


def _is_confirmation(trial: TrialRow, winner: TrialRow) -> bool:
    """Whether the trial trained the winner's configuration again, on a fresh seed, to its end."""
    origin = trial.origin or {}
    return trial.role == "confirm" and trial.state == "complete" and origin.get("number") == winner.number


def _seed_index(trial: TrialRow) -> int:
    return int((trial.origin or {}).get("seed_index", trial.number))


def _cost_value(trial: TrialRow, name: str) -> float | None:
    for place in (trial.facts, trial.metrics):
        for key in (name, f"val/{name}", f"train/{name}"):
            if isinstance(place.get(key), (int, float)):
                return float(place[key])
    return trial.seconds if name == "train_seconds" and trial.seconds else None


def _held_costs(attempts: Sequence[AttemptRow], trial_s: float, sweep: SweepRow) -> dict[str, float | None]:
    """For a trial that does not say it itself: GPU and CPU seconds that were held over all attempts, None
    where there were none, and their price, None where the file has no prices."""
    took = attempt_seconds(attempts, trial_s)
    gpu_s, cpu_s = (
        sum(
            (seconds or 0.0) * _count_held(a.lane_facts, what)
            for a, seconds in zip(attempts, took, strict=True)
        )
        for what in ("gpus", "cpus")
    )
    price = sweep.spec.price(gpu_s, cpu_s) if sweep.spec.prices else None
    return {"gpu_seconds": gpu_s or None, "cpu_seconds": cpu_s or None, "price": price}


def _count_held(facts: Mapping[str, Any], what: str) -> float:
    return float(facts.get("workers", 1)) * float(facts.get(what) or 0.0)


def _model(trial: TrialRow, sweep: SweepRow, home: Home) -> tuple[str | None, str | None]:
    """The kept model's folder and what its manifest hashes to; None where it is not there."""
    if trial.model is None:
        return None, None
    try:
        root = storage_root(home, sweep.spec).resolve()
    except WrongInput:  # a variable that only the driver's environment has
        return None, None
    folder: Path = (root / trial.model).resolve()
    fetch_file(folder / MANIFEST)
    if not folder.is_relative_to(root) or not (folder / MANIFEST).is_file():
        return None, None
    return str(folder), manifest_hash(folder)
