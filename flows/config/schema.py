"""The sweep file as people write it: every key, its type and its one sentence of documentation.

Fields that are left out are None here; `flows.config.resolving` puts defaults and per-family values in place.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BeforeValidator, Field

from flows.config.data import Data
from flows.config.family_entry import (
    FamilyCheckpoint,
    FamilyEntry,
    FamilyResources,
    FamilySearch,
    TrialBudget,
)
from flows.config.policy import Policy
from flows.config.types import (
    Duration,
    KeptModels,
    Lanes,
    Line,
    ModelName,
    Positive,
    SweepName,
    SweepVersion,
    Whole,
)
from infra.strict_model import Strict

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue


CardText = Annotated[str, Field(min_length=1, max_length=4_000)]


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


class Search(FamilySearch):
    """How configurations are chosen and bad ones stopped."""

    warm_start: list[SweepVersion] | None = None
    """Earlier sweeps of this ledger whose trials the sampler learns from: whole configurations of the same
    families and spaces, judged by the same metric, direction and `at` on the same data."""


class ResourcesEntry(FamilyResources):
    """What each worker of a trial needs, and how many trials run at once."""

    lanes: Lanes | None = None
    """How many trials run at once; `auto` is as many as fit (auto)."""
    weight: Positive | None = None
    """Its share of a cluster beside other sweeps of the same ledger: 2 is twice as much as 1 (1)."""


class Checkpoint(FamilyCheckpoint):
    """When a running trial is saved."""

    keep: Whole | None = None
    """How many checkpoints of a trial are kept while it runs (1)."""


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
