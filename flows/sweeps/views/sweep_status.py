"""What is known of one sweep and its trials, and of all sweeps: what `velodrome status` gives."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, ClassVar

from flows.terminal.shown_result import ShownResult
from infra.home import Home
from infra.ledger.broken_families import BrokenFamily
from infra.spec import Objective

if TYPE_CHECKING:
    import pandas as pd

    from trainers.bundle.predictor import Predictor
    from trainers.types import JsonObject, Params


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

    screen: ClassVar[str] = "flows.sweeps.views.status_screens:print_status"

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

    screen: ClassVar[str] = "flows.sweeps.views.status_screens:print_overview"

    home: str
    sweeps: tuple[SweepLine, ...]

    def to_json(self) -> JsonObject:
        """The home and its sweeps."""
        return {"home": self.home, "sweeps": [line.to_json() for line in self.sweeps]}


def _frame_row(trial: TrialStatus, goals: Sequence[str]) -> JsonObject:
    values = trial.values or (None,) * len(goals)
    facts = {name: getattr(trial, name) for name in ("epochs", "attempts", "seconds", "reason")}
    params = {f"param.{name}": value for name, value in trial.params.items()}
    numbers = dict(zip(goals, values, strict=True))
    own = {"family": trial.family, "number": trial.number, "state": trial.state}
    return {**own, **numbers, **params, **facts}
