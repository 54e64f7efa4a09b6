"""`velodrome status`: all sweeps of a ledger, or one sweep's trials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import closing

from flows.config.lookup import open_ledger, sweep_in_ledger
from flows.sweeps.views.states import count_test_reads, in_file_order, resolve_state, resolve_trials
from flows.sweeps.views.sweep_status import (
    BestTrial,
    LaneSupply,
    Overview,
    SweepLine,
    SweepStatus,
    TrialStatus,
)
from flows.terminal.stack_words import describe_stacks
from infra.gpus.sharing import describe_facts
from infra.home import Home
from infra.ledger import views
from infra.ledger.broken_families import find_broken_families
from infra.ledger.ranking import best_trial, pareto_front
from infra.ledger.rows import SweepRow, TrialRow
from infra.ledger.store import Ledger
from infra.tracking.sent_runs import run_id, run_ids

STATES = ("complete", "pruned", "failed", "running", "waiting")


def status(name: str | None = None, *, home: Home | None = None) -> SweepStatus | Overview:
    """How all sweeps stand, or one of them with its trials.

    Args:
        name: a sweep's name or its file; None for all.
        home: where to look; by default `VELODROME_HOME` or `.velodrome` here.

    Raises:
        WrongInput: no such sweep.
    """
    place = home or Home.from_environment()
    if name is None:
        return overview(place)
    with sweep_in_ledger(name, place) as (ledger, row):
        return sweep_status(ledger, row, run_ids(place, row), place)


def overview(home: Home) -> Overview:
    """One line for each sweep."""
    ledger = open_ledger(home)
    if ledger is None:
        return Overview(home=str(home.path), sweeps=())
    with closing(ledger):
        lines = tuple(_sweep_line(ledger, row) for row in views.sweeps(ledger))
    return Overview(home=str(home.path), sweeps=lines)


def sweep_status(
    ledger: Ledger, row: SweepRow, runs: Mapping[str, str] | None = None, home: Home | None = None
) -> SweepStatus:
    """One sweep's status from its rows."""
    state, note = resolve_state(row, views.owner(ledger, row.id))
    trials = in_file_order(row.spec, resolve_trials(views.trials(ledger, row.id), state))
    goals = row.spec.objectives
    several = len(goals) > 1
    found = None if several else best_trial(trials, goals)
    return SweepStatus(
        sweep=row.label,
        state=state,
        objectives=goals,
        trials=tuple(_trial_status(trial, run_id(runs or {}, row, trial)) for trial in trials),
        best=_best_trial(found) if found else None,
        front=tuple(_best_trial(trial) for trial in pareto_front(trials, goals)) if several else (),
        test_reads=count_test_reads(ledger, row),
        note=note,
        planned={family.name: family.trials for family in row.spec.families},
        created_at=row.created_at,
        updated_at=row.updated_at,
        stacks=describe_stacks(row.facts),
        stopped_families=find_broken_families(row, trials),
        ledger=row.spec.ledger,
        lanes=_lane_supply(row) if state == "running" else None,
        gpu_lanes=describe_facts(row.facts),
        home=home,
    )


def _lane_supply(row: SweepRow) -> LaneSupply | None:
    if "lanes" not in row.facts:  # nobody has planned any yet
        return None
    nodes = row.facts.get("sick_nodes", {}).values()
    sick = {told["host"]: f"{told['times']} replaced: {told['why']}" for told in nodes}
    return LaneSupply(**row.facts["lanes"], sick=sick)


def _trial_status(trial: TrialRow, mlflow_run_id: str | None) -> TrialStatus:
    return TrialStatus(
        family=trial.family,
        number=trial.number,
        state=trial.state,
        params=trial.params,
        values=tuple(trial.objective) if trial.objective else None,
        epochs=trial.epochs,
        attempts=trial.attempts,
        seconds=trial.seconds,
        reason=trial.reason,
        mlflow_run_id=mlflow_run_id,
        place=trial.facts.get("place", {}),
    )


def _best_trial(trial: TrialRow) -> BestTrial:
    return BestTrial(
        family=trial.family, number=trial.number, values=tuple(trial.objective or ()), params=trial.params
    )


def _sweep_line(ledger: Ledger, row: SweepRow) -> SweepLine:
    state, note = resolve_state(row, views.owner(ledger, row.id))
    trials = in_file_order(row.spec, resolve_trials(views.trials(ledger, row.id), state))
    counts = Counter(trial.state for trial in trials)
    found = best_trial(trials, row.spec.objectives)
    return SweepLine(
        sweep=row.label,
        state=state,
        note=note,
        counts={name: counts[name] for name in STATES},
        planned=sum(family.trials for family in row.spec.families),
        objectives=row.spec.objectives,
        best=_best_trial(found) if found else None,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
