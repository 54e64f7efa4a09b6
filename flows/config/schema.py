"""The sweep file as people write it: every key, its type and its one sentence of documentation.

Fields that are left out are None here; `flows.config.resolving` puts defaults and per-family values in place.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from flows.config.data import Data
from flows.config.policy import Policy
from flows.config.samplers import Pruner, Sampler
from flows.config.types import (
    Duration,
    DurationOrEpochs,
    Gpus,
    KeptModels,
    Lanes,
    Memory,
    ModelName,
    StackWidth,
    SweepName,
    SweepVersion,
    schema_error,
)
from infra.strict_model import Strict

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue


Line = Annotated[str, Field(min_length=1, max_length=250, pattern=r"^[^\x00-\x1f\x7f]+$")]
CardText = Annotated[str, Field(min_length=1, max_length=4_000)]
Positive = Annotated[float, Field(gt=0)]
Whole = Annotated[int, Field(ge=1, le=2**53)]


class ObjectiveEntry(Strict):
    """What a trial is judged by."""

    metric: Line | None = None
    """A metric of the validation split (the task's usual one)."""
    direction: Literal["minimize", "maximize"] | None = None
    """Which way is better; required for a metric that Velodrome does not know (the metric's own)."""
    at: Literal["best", "last"] | None = None
    """Whether a trial's value and weights are those of its best epoch or of its last (best)."""


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
    """How many configurations each family tries (20)."""
    epochs: Whole | None = None
    """Passes over the training data (10)."""
    steps: Whole | None = None
    """Optimizer steps of a trial; replaces `epochs`."""
    report_every: Whole | None = None
    """With `steps`: steps between two reports; a report then counts as an epoch everywhere (all steps)."""
    patience: Whole | None = None
    """A trial ends after so many epochs without an improvement."""
    min_delta: float | None = Field(default=None, ge=0)
    """The smallest change of the objective that `patience` counts as an improvement (0)."""
    trial_minutes: Positive | None = None
    """A trial ends after so many minutes; its value so far counts."""

    @model_validator(mode="after")
    def _check_length(self) -> TrialBudget:
        if self.epochs is not None and self.steps is not None:
            raise schema_error("have epochs or steps, not both", "drop one of them")
        return self


class Prices(Strict):
    """What hardware costs, in any currency."""

    gpu_hour: float | None = Field(default=None, ge=0)
    """The price of one GPU for one hour (0)."""
    cpu_hour: float | None = Field(default=None, ge=0)
    """The price of one CPU for one hour (0)."""


class BudgetEntry(TrialBudget):
    """How much may be spent."""

    minutes: Positive | None = None
    """The sweep stops after so many minutes; running trials are kept as waiting."""
    gpu_hours: Positive | None = None
    """The sweep stops after so many GPU hours; running trials are kept as waiting."""
    cost: Positive | None = None
    """The sweep stops after spending so much, counted by `prices`."""
    prices: Prices | None = None
    """What hardware costs, for `cost`; may stand at the top of the file instead."""


class FamilySearch(Strict):
    """How configurations are chosen and bad ones stopped."""

    sampler: Sampler | None = None
    """The algorithm that chooses the next configuration: a name, or a mapping with its options (tpe)."""
    pruner: Pruner | None = None
    """The rule that stops weak trials early: a name, or a mapping with its options (asha)."""
    stack: StackWidth | None = None
    """How many trials of one structure a lane trains as one program: `auto` (as many as pays, measured
    before it is done), `off`, or a number (auto)."""


class Search(FamilySearch):
    """How configurations are chosen and bad ones stopped."""

    warm_start: list[SweepVersion] | None = None
    """Earlier sweeps of this ledger whose trials the sampler learns from."""


class FamilyResources(Strict):
    """What each worker of a trial needs."""

    workers: Whole | None = None
    """Processes that train one trial together, by DDP (1)."""
    sharding: Literal["none", "full"] | None = None
    """With several workers: `none`, each holds all weights; `full`, each holds a part of weights, gradients
    and optimizer state (FSDP), for models that do not fit one device (none)."""
    fresh_process: bool | None = None
    """Whether each attempt at a trial gets a new process, as for code that leaves threads, module globals or
    memory behind; that takes seconds a trial (false)."""
    cpus: Positive | None = None
    """CPUs of each worker (1)."""
    gpus: Gpus | None = None
    """GPUs of each worker, whole or a fraction; `auto` is 0 where the cluster has none, else 1 at first, and
    lanes of one worker come to share GPUs as far as the memory allows that trials take (auto)."""
    memory: Memory | None = None
    """Memory of each worker, such as 4GiB, which Ray reserves for it."""
    accelerator: Line | None = None
    """The kind of accelerator, by Ray's name, such as H100 (any)."""
    labels: dict[str, str] | None = None
    """Labels that a node must have, by Ray's names."""


class ResourcesEntry(FamilyResources):
    """What each worker of a trial needs, and how many trials run at once."""

    lanes: Lanes | None = None
    """How many trials run at once; `auto` is as many as fit (auto)."""
    weight: Positive | None = None
    """Its share of a cluster beside other sweeps of the same ledger: 2 is twice as much as 1 (1)."""


class FamilyCheckpoint(Strict):
    """When a running trial is saved."""

    every: DurationOrEpochs | None = None
    """Time or epochs between two checkpoints of a running trial (30s)."""


class Checkpoint(FamilyCheckpoint):
    """When a running trial is saved."""

    keep: Whole | None = None
    """How many checkpoints of a trial are kept while it runs (1)."""


class FamilyEntry(TrialBudget):
    """One family: its options, its space, and what differs from the rest of the file."""

    command: Line | None = None
    """A command that is the family: its words, with `${args}`, `${directory}`, `${seed}` or `${name}`."""
    args: Literal["dashes", "switches", "equals", "hydra", "environment"] | None = None
    """What a command's `${args}` becomes: --name value, --name=value or name=value; with `environment` the
    command reads VELODROME_PARAMS (dashes)."""
    metrics: dict[str, Line] | Literal["mlflow"] | None = None
    """A command's metrics: a regular expression with a group each, over what it prints, or `{file: NAME}`, or
    `mlflow` where it logs them so."""
    resume: Line | None = None
    """Words that a command gets where the files below `${directory}` that they name are there."""
    resume_from: Line | None = None
    """The file below the trial's directory that decides it, where the words of `resume` name none."""
    keep: Line | None = None
    """A file or folder below a command's directory that is kept with the trial."""
    predict: Line | None = None
    """`package.module:name` of a function that answers rows with what a command keeps: the trial's model."""
    load: Line | None = None
    """The same of a function of the kept path, whose result `predict` is given instead of the path."""
    build: Line | None = None
    """The same of a function of the params that makes the torch module whose weights a command keeps."""
    config: Line | None = None
    """A YAML or JSON file that a command reads: `${config}` is a copy of it with the trial's parameters."""
    options: dict[str, Any] | None = None
    """The family's options: fixed structure that is not searched."""
    space: Any = None
    """The search space: a name, a path, or parameters by name, with `extends` (the family's own)."""
    start_with: list[dict[str, Any]] | None = None
    """Configurations that are tried first; they must lie in the space."""
    budget: TrialBudget | None = None
    """The same keys as directly in the family."""
    search: FamilySearch | None = None
    """The same keys as directly in the family."""
    sampler: Sampler | None = None
    """The same as `search.sampler`, for this family."""
    pruner: Pruner | None = None
    """The same as `search.pruner`, for this family."""
    stack: StackWidth | None = None
    """The same as `search.stack`, for this family."""
    resources: FamilyResources | None = None
    """What each worker of a trial needs."""
    checkpoint: FamilyCheckpoint | None = None
    """When a running trial is saved."""


class Keep(Strict):
    """What is kept of finished trials."""

    models: KeptModels | None = None
    """Which models of each family are kept: `best`, `{top: K}` or `all` (best)."""


class LimitsEntry(Strict):
    """How long to wait for what."""

    stall: Duration | None = None
    """A trial without a training step for so long is ended with `timeout` and tried again (10m)."""
    start: Duration | None = None
    """The sweep ends when no lane has come up in this time (2m)."""
    lease: Duration | None = None
    """A lane whose heartbeat is lost for so long is ended, and its trial goes on elsewhere (15s)."""


class TrackingEntry(Strict):
    """Where MLflow is."""

    uri: Line | None = None
    """An MLflow server or store; ${VARIABLE} is replaced (MLFLOW_TRACKING_URI, else a store in the home)."""
    experiment: Line | None = None
    """The experiment's name (the sweep's)."""


class Code(Strict):
    """People's own code."""

    package: Line | None = None
    """A wheel or URL of your own code, written into the requirements of registered models."""
    root: Line | None = None
    """The folder that travels to the cluster, from which own code is imported (the current folder)."""


class CardEntry(Strict):
    """What the cards of this sweep's models say beside what was measured."""

    purpose: CardText | None = None
    """What the models are for, and for whom."""
    limits: CardText | None = None
    """What they must not be used for, and where they are known to fail."""
    licence: Line | None = None
    """Under which licence they may be used, such as apache-2.0."""


class Sweep(Strict):
    """A Velodrome sweep: one study for each family, on one data set."""

    name: SweepName
    """The sweep's name: small letters, digits, '.', '_' and '-', 63 characters at most."""
    seed: int = Field(default=0, ge=0, le=2**53)
    """Decides configurations, initialisation and the order of examples; never the split."""
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
    """Database address of the ledger; ${VARIABLE} is replaced (VELODROME_LEDGER, else SQLite in the home)."""
    storage: Line | None = None
    """Checkpoints and models: a folder or s3://bucket/prefix; ${VARIABLE} as above (VELODROME_STORAGE)."""
    model: ModelName | None = None
    """The registered model's name (the sweep's)."""
    gates: Policy | None = None
    """What a new model must pass before it is promoted; later its policy says."""
    card: CardEntry | None = None
    """Purpose, limits and licence of the models, for their cards."""
    code: Code | None = None
    """People's own code."""


def schema() -> JsonSchemaValue:
    """`velodrome schema`: the sweep file's JSON schema, by the command's name."""
    return json_schema()


@cache
def json_schema() -> JsonSchemaValue:
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
