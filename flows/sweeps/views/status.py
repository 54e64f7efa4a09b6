"""`velodrome status`: all sweeps of a ledger, or one sweep's trials."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, ClassVar

from flows.config.lookup import open_ledger, open_sweep
from flows.sweeps.views.states import (
    count_test_reads,
    in_file_order,
    resolve_state,
    resolve_trials,
)
from flows.terminal.shown_result import ShownResult
from flows.terminal.stack_words import describe_stacks
from infra.gpus.sharing import describe_facts
from infra.home import Home
from infra.ledger import views
from infra.ledger.broken_families import BrokenFamily, find_broken_families
from infra.ledger.ranking import best_trial, pareto_front
from infra.ledger.rows import SweepRow, TrialRow
from infra.ledger.store import Ledger
from infra.spec import Objective
from infra.tracking.sent_runs import run_id, run_ids

if TYPE_CHECKING:
    import pandas as pd

    from trainers.bundle.predictor import Predictor
    from trainers.types import JsonObject, Params


STATES = ("complete", "pruned", "failed", "running", "waiting")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialStatus:
    """One trial in a sweep's status. `values` has one number an objective, or is None; `place` is the `host`,
    `lane` and `gpu` of its last attempt."""

    family: str
    number: int
    state: str
    params: Params
    values: tuple[float, ...] | None
    epochs: int
    attempts: int
    seconds: float
    reason: str | None
    mlflow_run_id: str | None
    place: dict[str, str] = field(default_factory=dict)

    def to_json(self, *, several: bool) -> JsonObject:
        """`values` where there are several objectives, else `value`."""
        first = self.values[0] if self.values else None
        shown = {"values": self.values} if several else {"value": first}
        return {
            "family": self.family,
            "number": self.number,
            "state": self.state,
            "params": self.params,
            **shown,
            "epochs": self.epochs,
            "attempts": self.attempts,
            "seconds": round(self.seconds, 3),
            "reason": self.reason,
            "mlflow_run_id": self.mlflow_run_id,
            "place": self.place or None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class BestTrial:
    """A trial that stands out, and its values."""

    family: str
    number: int
    values: tuple[float, ...]
    params: Params = field(default_factory=dict)

    def to_json(self, *, several: bool) -> JsonObject:
        """`value`, or `values` where there are several objectives."""
        shown = {"values": self.values} if several else {"value": self.values[0]}
        return {"family": self.family, "number": self.number, **shown}


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneSupply:
    """The lanes of a sweep that runs: how many are planned, how many are up, and what lanes wait for.

    Attributes:
        sick: by host, how many lanes there were replaced, and why the last of them.
    """

    planned: int
    up: int
    waits_for: str
    sick: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepStatus(ShownResult):
    """One sweep.

    Attributes:
        state: running, finished, stopped or failed, as it is: a sweep whose driver died is stopped.
        best: of a sweep with one objective; `front`: the undominated trials of one with several.
        test_reads: how often the test split was read for this sweep.
        note: what a person should know about the state; may be empty.
        stacks: of families whose trials may be stacked: how lanes train them, in words.
        stopped_families: that get no more trials, since their first ones all failed alike.
        ledger: as the sweep's file names it.
        lanes: of a sweep that runs, how many there are and what others wait for.
        gpu_lanes: of families with `gpus: auto`, how many lanes a GPU has for them and why, in words.
        home: where it was found, for `model`.
    """

    screen: ClassVar[str] = "flows.sweeps.views.trial_screens:print_status"

    sweep: str
    state: str
    objectives: tuple[Objective, ...]
    trials: tuple[TrialStatus, ...]
    best: BestTrial | None
    front: tuple[BestTrial, ...]
    test_reads: int
    note: str
    planned: dict[str, int] = field(default_factory=dict)
    created_at: float = 0.0
    updated_at: float = 0.0
    stacks: dict[str, str] = field(default_factory=dict)
    stopped_families: tuple[BrokenFamily, ...] = ()
    ledger: str | None = None
    lanes: LaneSupply | None = None
    gpu_lanes: dict[str, str] = field(default_factory=dict)
    home: Home | None = field(default=None, repr=False, compare=False)

    @property
    def several(self) -> bool:
        """Whether there is more than one objective."""
        return len(self.objectives) > 1

    def counts(self) -> Counter[str]:
        """Trials by state."""
        return Counter(trial.state for trial in self.trials)

    def frame(self) -> pd.DataFrame:
        """One row a trial; a column for each objective, `param.NAME` for each parameter."""
        import pandas as pd

        goals = [goal.metric.removeprefix("val/") for goal in self.objectives]
        return pd.DataFrame([_frame_row(trial, goals) for trial in self.trials])

    def model(self, number: int | None = None, *, family: str | None = None) -> Predictor:
        """The kept model of the best trial, or of another, ready to predict.

        Raises:
            WrongInput: there is none.
        """
        from flows.sweeps.views.show import load_trial_model

        if number is None and self.best is not None:
            number, family = self.best.number, self.best.family
        return load_trial_model(self.sweep, number, family, self.home)

    def to_json(self) -> JsonObject:
        """What `--json` prints, with `note` and `test_reads` last."""
        goals = [
            {"metric": goal.metric, "direction": goal.direction, "at": goal.at} for goal in self.objectives
        ]
        if self.several:
            outstanding: JsonObject = {"front": [entry.to_json(several=True) for entry in self.front]}
        else:
            outstanding = {"best": self.best.to_json(several=False) if self.best else None}
        return {
            "sweep": self.sweep,
            "state": self.state,
            "objective": goals if self.several else next(iter(goals), None),
            "trials": [trial.to_json(several=self.several) for trial in self.trials],
            **outstanding,
            "test_reads": self.test_reads,
            "note": self.note or None,
            "stacks": self.stacks,
            "stopped_families": [family.to_json() for family in self.stopped_families],
            "lanes": asdict(self.lanes) if self.lanes else None,
            "gpu_lanes": self.gpu_lanes,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepLine:
    """One sweep in the list of all."""

    sweep: str
    state: str
    note: str
    counts: dict[str, int]
    planned: int
    objectives: tuple[Objective, ...]
    best: BestTrial | None
    created_at: float
    updated_at: float

    def to_json(self) -> JsonObject:
        """Counts by state, and the best trial by the first objective."""
        several = len(self.objectives) > 1
        return {
            "sweep": self.sweep,
            "state": self.state,
            "note": self.note or None,
            "trials": {**self.counts, "planned": self.planned},
            "objective": [goal.metric for goal in self.objectives] if several else self.objectives[0].metric,
            "best": self.best.to_json(several=several) if self.best else None,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview(ShownResult):
    """All sweeps of the ledger that commands use here, oldest first."""

    screen: ClassVar[str] = "flows.sweeps.views.trial_screens:print_overview"

    home: str
    sweeps: tuple[SweepLine, ...]

    def to_json(self) -> JsonObject:
        """The home and its sweeps."""
        return {"home": self.home, "sweeps": [line.to_json() for line in self.sweeps]}


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
    ledger, row = open_sweep(name, place)
    try:
        return sweep_status(ledger, row, run_ids(place, row), place)
    finally:
        ledger.close()


def overview(home: Home) -> Overview:
    """One line for each sweep."""
    ledger = open_ledger(home)
    if ledger is None:
        return Overview(home=str(home.path), sweeps=())
    try:
        lines = tuple(_sweep_line(ledger, row) for row in views.sweeps(ledger))
    finally:
        ledger.close()
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


def _frame_row(trial: TrialStatus, goals: Sequence[str]) -> JsonObject:
    values = trial.values or (None,) * len(goals)
    facts = {name: getattr(trial, name) for name in ("epochs", "attempts", "seconds", "reason")}
    params = {f"param.{name}": value for name, value in trial.params.items()}
    numbers = dict(zip(goals, values, strict=True))
    own = {"family": trial.family, "number": trial.number, "state": trial.state}
    return {**own, **numbers, **params, **facts}


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
