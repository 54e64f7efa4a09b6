"""A registered model's policy as people write it: every key, its type and its one sentence of documentation.

The same keys stand under `gates` in a sweep file, for a model that has no policy yet.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from flows.config.data import Data
from flows.config.types import Line, Memory, Whole, schema_error
from infra.strict_model import Strict
from trainers.types import JsonObject

Name = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z0-9_./@:-]+$")]
Share = Annotated[float, Field(ge=0)]
Fall = Annotated[float, Field(gt=0, lt=1)]
Cost = Literal[
    "size_bytes", "parameters", "flops", "latency_ms", "latency_p99_ms", "train_seconds", "train_flops",
    "gpu_seconds", "cpu_seconds", "price", "energy_joules",
]  # fmt: skip


class Bound(Strict):
    """What a metric must be, whatever the champion has."""

    at_least: float | None = None
    """The metric's smallest value that passes."""
    at_most: float | None = None
    """The metric's largest value that passes."""

    @model_validator(mode="after")
    def _check_bound(self) -> Bound:
        if self.at_least is None and self.at_most is None:
            raise schema_error("have at_least or at_most", "write for instance {at_least: 0.9}")
        return self


class ComparisonRule(Strict):
    """How much better than the champion a challenger must be."""

    metric: Line | None = None
    """What challenger and champion are compared by (the sweep's objective, else the task's usual metric)."""
    margin: float = 0.0
    """The challenger must be better by more than this, in the metric's units; below 0 only with `smaller`."""
    confidence: float = Field(default=0.95, ge=0.5, lt=1)
    """Confidence of the two-sided interval of the difference, whose lower end must exceed the margin."""
    smaller: dict[Cost, Fall] = Field(default={})
    """By which share each of these costs must lie below the champion's."""

    @model_validator(mode="after")
    def _check_margin(self) -> ComparisonRule:
        if self.margin < 0 and not self.smaller:
            do = "write for instance smaller: {size_bytes: 0.5}"
            raise schema_error("have `smaller` beside a margin below 0: not worse, and smaller", do)
        return self


class Classes(Strict):
    """What no class may lose."""

    max_drop: Share = 0.05
    """A class's F1 may fall by so much against the champion's; 1 lets everything pass."""


class Slices(Strict):
    """What no part of the data may lose."""

    columns: list[Line] = Field(min_length=1, max_length=20)
    """Each value of these columns is a slice."""
    max_drop: Share = 0.05
    """A slice's score may fall by so much: its accuracy, or for numbers a share of the champion's error."""
    min_examples: Whole = 10
    """Smaller slices are left out, and counted."""


class Groups(Strict):
    """How far apart a model's own answers about groups may be."""

    columns: list[Line] = Field(min_length=1, max_length=20)
    """Each value of these columns is a group."""
    max_gap: Share = 0.05
    """The accuracies of the best and the worst group of a column may lie apart by so much."""
    min_examples: Whole = 20
    """Smaller groups are left out."""


class ModelLimits(Strict):
    """What a model may take, measured on this machine on the model as it is served; and what its training
    took, as its bundle says."""

    latency_ms: float | None = Field(default=None, gt=0)
    """Largest median latency of one example."""
    latency_p99_ms: float | None = Field(default=None, gt=0)
    """Largest 99th percentile of the latency of one example."""
    size_bytes: Memory | None = None
    """Largest size of the weights in memory, such as 20MiB."""
    parameters: Whole | None = None
    """Largest number of weights."""
    flops: Whole | None = None
    """Largest number of floating-point operations of one answer."""
    train_seconds: float | None = Field(default=None, gt=0)
    """Longest time in training and evaluation."""
    train_flops: Whole | None = None
    """Largest number of floating-point operations of training."""
    gpu_seconds: float | None = Field(default=None, ge=0)
    """Largest time in training and evaluation, times the GPUs that were held."""
    cpu_seconds: float | None = Field(default=None, gt=0)
    """Largest time in training and evaluation, times the processors that were held."""
    price: float | None = Field(default=None, gt=0)
    """Highest price of training and evaluation, by the sweep's `prices`."""
    energy_joules: float | None = Field(default=None, gt=0)
    """Most energy that the machine used in training and evaluation, where it tells."""
    epsilon: float | None = Field(default=None, gt=0)
    """Largest bound on what the model tells of any one row of its training; only of private training."""


class Evaluation(Strict):
    """What challenger and champion are judged on, instead of the test split of the sweep's data."""

    data: Data
    """A data set, as in a sweep file."""
    part: Literal["test", "all"] = "test"
    """Its test split, or all of it."""
    fingerprint: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")
    """The data's fingerprint; taken when the policy is set, and held at every promotion."""


class Approval(Strict):
    """Who must agree before the champion moves."""

    by: list[Name] | None = Field(default=None, min_length=1, max_length=100)
    """User names of those who may agree (anybody but the promoter)."""
    count: Whole = 1
    """How many of them must agree."""


class Notify(Strict):
    """Who is told, with a JSON document."""

    command: list[Line] | None = Field(default=None, min_length=1, max_length=50)
    """A command, run without a shell, the document on stdin; allowed by VELODROME_NOTIFY_COMMANDS."""
    webhook: Line | None = None
    """An address that the document is POSTed to: https, or http on loopback."""
    on: list[Literal["moved", "refused"]] = Field(default=["moved", "refused"], min_length=1)
    """After which outcomes."""


class Policy(Strict):
    """What a version of a registered model must pass before it becomes the champion."""

    metrics: dict[Line, Bound] = Field(default={}, max_length=50)
    """Bounds of metrics on the evaluation data, by name."""
    compare: ComparisonRule = ComparisonRule()
    """How much better than the champion."""
    min_examples: Whole = 30
    """How many examples that neither model was trained on are needed to decide."""
    classes: Classes = Classes()
    """How much a class may lose."""
    slices: Slices | None = None
    """How much a part of the data may lose."""
    groups: Groups | None = None
    """How far apart the accuracies of groups may be, whatever the champion's are."""
    limits: ModelLimits = ModelLimits()
    """Latency, size and parameters at most."""
    evaluation: Evaluation | None = None
    """What is judged on."""
    training_rows: Literal["known", "unknown"] = "known"
    """Whether a model may be judged whose training rows nobody knows."""
    changed_data: Literal["refused", "judged"] = "refused"
    """Whether a sweep's data may be judged on that has changed since the sweep."""
    other_data: Literal["refused", "judged"] = "refused"
    """Whether a model may be judged on another data set than the champion's."""
    approval: Approval | None = None
    """Who must agree."""
    notify: Notify | None = None
    """Who is told."""
    loaders: list[Name] = Field(default=[], max_length=20)
    """Installed modules that may load a model, beside the known ones."""


def to_document(policy: Policy) -> JsonObject:
    """Plain JSON, without what is left out."""
    return dict(policy.model_dump(mode="json", exclude_none=True))
