"""A family of the sweep file as people write it, and what it shares with the keys of the whole file."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from flows.config.samplers import Pruner, Sampler
from flows.config.types import DurationOrEpochs, Gpus, Line, Memory, Positive, StackWidth, Whole, schema_error
from infra.strict_model import Strict


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


class FamilySearch(Strict):
    """How configurations are chosen and bad ones stopped."""

    sampler: Sampler | None = None
    """The algorithm that chooses the next configuration: a name, or a mapping with its options (tpe)."""
    pruner: Pruner | None = None
    """The rule that stops weak trials early: a name, or a mapping with its options (asha)."""
    stack: StackWidth | None = None
    """How many trials of one structure a lane trains as one program: `auto` (as many as pays, measured
    before it is done), `off`, or a number (auto)."""


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


class FamilyCheckpoint(Strict):
    """When a running trial is saved."""

    every: DurationOrEpochs | None = None
    """Time or epochs between two checkpoints of a running trial (30s)."""


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
