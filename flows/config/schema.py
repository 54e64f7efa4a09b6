"""The sweep file as people write it: every key, its type and its one sentence of documentation.

Fields that are left out are None here; `flows.config.resolving` puts defaults and per-family values in place.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from flows.config.data import Data
from flows.config.policy import Policy
from flows.config.samplers import Pruner, Sampler, Strict
from flows.config.types import (
    Duration,
    DurationOrEpochs,
    Gpus,
    KeptModels,
    Lanes,
    Memory,
    ModelName,
    SweepName,
    SweepVersion,
    schema_error,
)

Line = Annotated[str, Field(min_length=1, max_length=250, pattern=r"^[^\x00-\x1f\x7f]+$")]
Positive = Annotated[float, Field(gt=0)]
Whole = Annotated[int, Field(ge=1, le=2**53)]


class ObjectiveEntry(Strict):
    """What a trial is judged by."""

    metric: Line | None = None
    """On the validation split; the task's usual one where left out."""
    direction: Literal["minimize", "maximize"] | None = None
    """Where it should go; required for a metric that Velodrome does not know."""
    at: Literal["best", "last"] | None = None
    """Value and weights are those of its best epoch (default) or of its last."""


Objectives = Annotated[
    list[ObjectiveEntry],
    Field(min_length=1, max_length=8),
    BeforeValidator(
        lambda value: value if isinstance(value, list) else [value],
        json_schema_input_type=ObjectiveEntry | list[ObjectiveEntry],
    ),
]


class TrialBudget(Strict):
    """How many trials, and how long each."""

    trials: Whole | None = None
    """How many configurations are tried (20)."""
    epochs: Whole | None = None
    """Passes over the training data (10)."""
    steps: Whole | None = None
    """Optimizer steps instead of epochs."""
    report_every: Whole | None = None
    """With steps: a report, which then counts as an epoch, every so many."""
    patience: Whole | None = None
    """Epochs without an improvement before a trial ends."""
    min_delta: float | None = Field(default=None, ge=0)
    """What counts as an improvement (0)."""
    trial_minutes: Positive | None = None
    """A trial ends after so long; its value so far counts."""

    @model_validator(mode="after")
    def _check_length(self) -> TrialBudget:
        if self.epochs is not None and self.steps is not None:
            raise schema_error("have epochs or steps, not both", "drop one of them")
        return self


class Prices(Strict):
    """What hardware costs, in any currency."""

    gpu_hour: float | None = Field(default=None, ge=0)
    """One GPU for one hour."""
    cpu_hour: float | None = Field(default=None, ge=0)
    """One CPU for one hour."""


class BudgetEntry(TrialBudget):
    """How much may be spent."""

    minutes: Positive | None = None
    """The sweep stops after so long; running trials are kept as waiting."""
    gpu_hours: Positive | None = None
    """The sweep stops after so many."""
    cost: Positive | None = None
    """The sweep stops after spending so much, by `prices`."""
    prices: Prices | None = None
    """What hardware costs; may stand at the top of the file instead."""


class FamilySearch(Strict):
    """How configurations are chosen and bad ones stopped."""

    sampler: Sampler | None = None
    """Who chooses the next configuration (tpe)."""
    pruner: Pruner | None = None
    """Who stops trials that won't win (asha; none with several objectives)."""


class Search(FamilySearch):
    """How configurations are chosen and bad ones stopped."""

    warm_start: list[SweepVersion] | None = None
    """Earlier sweeps whose trials the sampler learns from."""


class FamilyResources(Strict):
    """What each worker of a trial needs."""

    workers: Whole | None = None
    """Processes that train one trial together (1)."""
    sharding: Literal["none", "full"] | None = None
    """With several workers: whether each holds all weights (none), or its part of weights, gradients and
    optimizer (full), for models that do not fit one device."""
    cpus: Positive | None = None
    """CPUs a worker (1)."""
    gpus: Gpus | None = None
    """GPUs a worker: whole or a fraction; auto: 1 where the cluster has any, else 0."""
    memory: Memory | None = None
    """Memory a worker, such as 4GiB."""
    accelerator: Line | None = None
    """Kind of accelerator, as Ray names it."""
    labels: dict[str, str] | None = None
    """Node labels, as Ray names them."""


class ResourcesEntry(FamilyResources):
    """What each worker of a trial needs, and how many trials run at once."""

    lanes: Lanes | None = None
    """How many trials at once; auto: as many as fit."""


class FamilyCheckpoint(Strict):
    """When a running trial is saved."""

    every: DurationOrEpochs | None = None
    """Time or epochs between checkpoints (30s)."""


class Checkpoint(FamilyCheckpoint):
    """When a running trial is saved."""

    keep: Whole | None = None
    """How many of a trial (1)."""


class FamilyEntry(TrialBudget):
    """One family: its options, its space, and what differs from the rest of the file."""

    options: dict[str, Any] | None = None
    """Fixed structure, not searched."""
    space: Any = None
    """A name or path of a space, or parameters by name with `extends`; the family's own where left out."""
    start_with: list[dict[str, Any]] | None = None
    """Known good configurations, tried first."""
    budget: TrialBudget | None = None
    """The same keys as directly in the family."""
    search: FamilySearch | None = None
    """The same keys as directly in the family."""
    sampler: Sampler | None = None
    """Who chooses the next configuration."""
    pruner: Pruner | None = None
    """Who stops trials that won't win."""
    resources: FamilyResources | None = None
    """What each worker of a trial needs."""
    checkpoint: FamilyCheckpoint | None = None
    """When a running trial is saved."""


class Keep(Strict):
    """What is kept of finished trials."""

    models: KeptModels | None = None
    """Models of each family: best, {top: K} or all."""


class LimitsEntry(Strict):
    """How long to wait for what."""

    stall: Duration | None = None
    """No training step for so long (10m)."""
    start: Duration | None = None
    """A lane that does not come up (2m)."""
    lease: Duration | None = None
    """A lane whose heartbeat is lost (15s)."""


class TrackingEntry(Strict):
    """Where MLflow is."""

    uri: Line | None = None
    """Address of an MLflow server or store; ${VARIABLE} is replaced."""
    experiment: Line | None = None
    """The experiment's name; the sweep's where left out."""


class Code(Strict):
    """People's own code."""

    package: Line | None = None
    """A wheel or URL of it, for registered models."""
    root: Line | None = None
    """The folder that travels to the cluster."""


class Sweep(Strict):
    """A Velodrome sweep: one study for each family, on one data set."""

    name: SweepName
    """Small letters, digits, '.', '_' and '-'."""
    seed: int = Field(default=0, ge=0, le=2**53)
    """Decides configurations, initialisation and order; never the split."""
    data: Data
    """The data set."""
    objective: Objectives | None = None
    """What a trial is judged by; a list makes a multi-objective study."""
    budget: BudgetEntry | None = None
    """How much may be spent."""
    prices: Prices | None = None
    """What hardware costs, for `budget.cost`."""
    search: Search | None = None
    """How configurations are chosen and bad ones stopped."""
    families: dict[str, FamilyEntry | None] = Field(min_length=1, max_length=200)
    """What is trained: a built-in family, or package.module:name, a Family class or a function."""
    resources: ResourcesEntry | None = None
    """What each worker of a trial needs, and how many trials run at once."""
    checkpoint: Checkpoint | None = None
    """When a running trial is saved."""
    keep: Keep | None = None
    """What is kept of finished trials."""
    limits: LimitsEntry | None = None
    """How long to wait for what."""
    tracking: TrackingEntry | None = None
    """Where MLflow is."""
    ledger: Line | None = None
    """Database address of the ledger; ${VARIABLE} is replaced."""
    storage: Line | None = None
    """Folder or bucket for checkpoints and models; ${VARIABLE} is replaced."""
    model: ModelName | None = None
    """The registered model's name; the sweep's where left out."""
    gates: Policy | None = None
    """What a new model must pass before it is promoted; later its policy says."""
    code: Code | None = None
    """People's own code."""


def schema() -> dict[str, Any]:
    """`velodrome schema`: the sweep file's JSON schema, by the command's name."""
    return json_schema()


@cache
def json_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of the sweep file, for editors."""
    from flows.config.space import SPACE_DEFINITIONS, SPACE_REFERENCE

    schema = Sweep.model_json_schema(mode="validation")
    definitions = schema["$defs"]
    definitions.update(SPACE_DEFINITIONS)
    description = definitions["FamilyEntry"]["properties"]["space"].get("description", "")
    definitions["FamilyEntry"]["properties"]["space"] = {**SPACE_REFERENCE, "description": description}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Velodrome sweep",
        **{key: value for key, value in schema.items() if key != "title"},
    }
