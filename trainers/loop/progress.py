"""An attempt's bookkeeping: where it is, what it reported, what is best so far, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from trainers.errors import InputError, NotFinite
from trainers.types import Document, Goal, JsonObject, Length


@dataclass(slots=True, kw_only=True)
class ReportWindow:
    """What training has gathered since the last report."""

    losses: float = 0.0  # Σ loss of a batch times its examples, on this rank
    examples: int = 0
    seconds: float = 0.0
    shown: dict[str, float] = field(default_factory=dict)  # sums of a family's own numbers
    shown_steps: int = 0

    def add_numbers(self, numbers: Mapping[str, float]) -> None:
        """Adds one step's own numbers."""
        self.shown_steps += 1
        for name, number in numbers.items():
            self.shown[name] = self.shown.get(name, 0.0) + float(number)

    def means(self) -> dict[str, float]:
        """The own numbers' means over the steps."""
        return {name: total / self.shown_steps for name, total in self.shown.items()}


@dataclass(slots=True, kw_only=True)
class TrainingProgress:
    """All that a resumed attempt must know besides tensors; plain JSON by `to_json`.

    Attributes:
        step: optimizer's steps made, over all attempts.
        reports: reports made; the same as the epoch where there is one an epoch.
        seconds: training and evaluation, over all attempts; `joules` that its machines used meanwhile,
            where they tell.
        kept_epoch: the report whose weights are kept; 0 before the first.
        kept: its metrics; `best` its value of the first goal.
        anchor: the value that patience measures improvements from; `waited` reports since.
    """

    step: int = 0
    reports: int = 0
    seconds: float = 0.0
    joules: float = 0.0
    kept_epoch: int = 0
    kept: dict[str, float] = field(default_factory=dict)
    best: float | None = None
    anchor: float | None = None
    waited: int = 0
    window: ReportWindow = field(default_factory=ReportWindow)

    def to_json(self) -> JsonObject:
        """Plain JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Document) -> TrainingProgress:
        """The inverse of `to_json`."""
        return cls(**{**document, "window": ReportWindow(**document["window"])})

    def record_report(self, metrics: Mapping[str, float], goal: Goal, length: Length, at: str) -> bool:
        """Takes a report in. True: its weights are the ones to keep."""
        self.reports += 1
        value = goal_value(metrics, goal)
        better = _is_better(value, self.best, goal, 0.0)
        if _is_better(value, self.anchor, goal, length.min_delta):
            self.anchor, self.waited = value, 0
        else:
            self.waited += 1
        self.best = value if better else self.best
        if at == "best" and not better:
            return False
        self.kept_epoch = self.reports
        self.kept = drop_not_finite(metrics)
        return True

    def is_finished(self, length: Length, steps: int) -> bool:
        """Whether the length, the patience or the time has run out."""
        impatient = length.patience is not None and self.waited >= length.patience
        late = length.seconds is not None and self.seconds >= length.seconds
        return self.step >= steps or impatient or late


def plan_steps(length: Length, steps_per_epoch: int) -> tuple[int, int]:
    """All steps of a trial, and the steps between reports.

    Raises:
        InputError: neither epochs nor steps are given.
    """
    if length.steps is not None:
        return length.steps, min(length.report_every or length.steps, length.steps)
    if length.epochs is None:
        raise InputError("a budget must have epochs or steps", "neither", key=("budget",))
    return length.epochs * steps_per_epoch, steps_per_epoch


def drop_not_finite(metrics: Mapping[str, float]) -> dict[str, float]:
    """Without what is not defined for this data (r2 of equal targets): no reader takes a NaN."""
    return {name: number for name, number in metrics.items() if math.isfinite(number)}


def goal_value(metrics: Mapping[str, float], goal: Goal) -> float:
    """The goal's value, `val/` being optional in its name.

    Raises:
        InputError: nothing reports the metric.
        NotFinite: it is not a finite number.
    """
    name = goal.metric if goal.metric in metrics else f"val/{goal.metric}"
    name = name if name in metrics else goal.metric.removeprefix("val/")
    if name not in metrics:
        raise InputError(
            "objective.metric must be one that the trial reports",
            repr(goal.metric),
            f"reported are {', '.join(sorted(metrics))}",
            key=("objective", "metric"),
        )
    value = float(metrics[name])
    if not math.isfinite(value):
        raise NotFinite(f"{name} must be a finite number", f"{value}")
    return value


def _is_better(value: float, than: float | None, goal: Goal, by: float) -> bool:
    if than is None:
        return True
    return value > than + by if goal.maximize else value < than - by
