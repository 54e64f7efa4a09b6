"""What the training loop is given and what it gives back. No Ray, no Optuna, no MLflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import torch

    from trainers.family import Family
    from trainers.functions.trial import Trial


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """One metric to be judged by (`val/accuracy`) and whether larger is better."""

    metric: str
    maximize: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Length:
    """How long to train: `epochs`, or `steps` with a report every `report_every` of them.

    Attributes:
        patience: reports without an improvement of the first goal by more than `min_delta` before stopping.
        seconds: training stops after the report that finds this much time used; its value so far counts.
    """

    epochs: int | None = None
    steps: int | None = None
    report_every: int | None = None
    patience: int | None = None
    min_delta: float = 0.0
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranks:
    """This process among those that train one attempt together; the process group spans exactly them.

    Attributes:
        sharded: each rank holds its part of weights, gradients and optimizer, instead of all of them.
    """

    rank: int = 0
    world_size: int = 1
    sharded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One attempt at one configuration.

    Attributes:
        family: an instance made with its options.
        params: every hyper-parameter that training uses (`trainers.hyperparameters.complete`).
        seed: decides initialisation, order and dropout; never the split.
        goals: what the attempt is judged by; several for a multi-objective study.
        at: keep value and weights of the `best` epoch by the first goal, or of the `last`.
        parts: `test` is read only where it is named here (confirmation).
        checkpoint_every: seconds between checkpoints, or None.
        checkpoint_epochs: reports between checkpoints, or None.
        threads: for torch on the CPU; another number may round sums otherwise. None: as the process has it.
        samples: the folder for what a family shows at each report; None: nothing is shown.
    """

    family: Family
    params: Mapping[str, Any]
    seed: int
    length: Length
    goals: tuple[Goal, ...]
    at: Literal["best", "last"] = "best"
    device: str = "cpu"
    ranks: Ranks = field(default_factory=Ranks)
    read_test: bool = False
    checkpoint_seconds: float | None = None
    checkpoint_epochs: int | None = None
    threads: int | None = None
    samples: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionJob:
    """One attempt at one configuration of a function.

    Attributes:
        function: takes a `Trial`.
        params: what was sampled; a function has no defaults that Velodrome knows.
        seed: Python's, NumPy's and torch's generators are seeded with it on every rank.
        data: what `trial.data` is; None for `data: none`.
        directory: a folder of this attempt's own, which exists.
        checkpoint_seconds, checkpoint_epochs: between checkpoints, or None.
        threads: as in `Job`.
    """

    function: Callable[[Trial], Any]
    params: Mapping[str, Any]
    seed: int
    length: Length
    goals: tuple[Goal, ...]
    directory: Path
    data: Any = None
    at: Literal["best", "last"] = "best"
    device: str = "cpu"
    ranks: Ranks = field(default_factory=Ranks)
    checkpoint_seconds: float | None = None
    checkpoint_epochs: int | None = None
    threads: int | None = None

    @property
    def reports(self) -> int:
        """How many epochs, or reports where the budget is in steps, a whole trial has."""
        if self.length.steps is not None:
            return -(-self.length.steps // (self.length.report_every or self.length.steps))
        return self.length.epochs or 0


class Hooks(Protocol):
    """What the loop tells its surroundings, and asks them. Called on rank 0 unless said otherwise."""

    def report(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        """One report (`epoch` counts from 1). False: stop here, the pruner said so."""

    def alive(self, step: int) -> None:
        """A training or evaluation step was made; `step` only grows. Called on every rank; cheap."""

    def stopping(self) -> bool:
        """True: write a checkpoint now, after a step or a report, and leave with status `stopped`. Asked
        some times a second."""

    def save(self, tensors: Mapping[str, torch.Tensor], document: Mapping[str, Any]) -> None:
        """Write a checkpoint, atomically; only the newest must stay loadable."""

    def load(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """The newest checkpoint that can be trusted, or None. Called on every rank."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended without an exception.

    Attributes:
        status: `complete` (ran its length, its patience or its time out), `pruned` (the report said so) or
            `stopped` (asked to leave; a checkpoint was written).
        values: one number a goal at the kept epoch; empty only if nothing was reported.
        epoch: the kept epoch, from 1; `epochs`: how many reports were made over all attempts.
        metrics: all metrics of the kept epoch (and `test/…` where asked for).
        weights: the kept weights, CPU tensors by name (rank 0; empty elsewhere and for pruned attempts).
        facts: `parameters`, `size_bytes`, `train_seconds`, `peak_memory_bytes`, where known.
        test_scores: where the test part was read, each example's share in those of its metrics that are means
            over examples (`accuracy`, `mse`, …): float64 [examples], in the part's order (rank 0).
        code: for a training function that named its model: `build` and `predict` (`package.module:name`) and
            the SHA-256 of their source files (`build_sha256`, `predict_sha256`).
    """

    status: Literal["complete", "pruned", "stopped"]
    values: tuple[float, ...] = ()
    epoch: int = 0
    epochs: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, torch.Tensor] = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    test_scores: Mapping[str, torch.Tensor] = field(default_factory=dict)
