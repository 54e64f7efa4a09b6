"""What the training loop is given and what it gives back. No Ray, no Optuna, no MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from trainers.types import Document, Goal, Json, Length, Params, Ranks

if TYPE_CHECKING:
    import torch

    from trainers.family import Family
    from trainers.kept.description import KeptModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One attempt at one configuration.

    Attributes:
        family: an instance made with its options.
        params: every hyper-parameter that training uses (`trainers.hyperparameters.complete`).
        seed: decides initialisation, order and dropout; never the split.
        goals: what the attempt is judged by; several for a multi-objective study.
        at: keep value and weights of the `best` epoch by the first goal, or of the `last`.
        read_test: whether the test part is read at the end (confirmation).
        checkpoint_seconds, checkpoint_epochs: between checkpoints, the latter in reports; or None.
        threads: for torch on the CPU; another number may round sums otherwise. None: as the process has it.
        per_second: what a second of it takes: `cpu_seconds`, `gpu_seconds`, `price` where there is one.
        samples: the folder for what a family shows at each report; None: nothing is shown.
    """

    family: Family
    params: Params
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
    per_second: Mapping[str, float] = field(default_factory=dict)
    samples: Path | None = None


class Hooks(Protocol):
    """What the loop tells its surroundings, and asks them. Called on rank 0 unless said otherwise."""

    def report(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        """One report (`epoch` counts from 1). False: stop here, the pruner said so."""

    def alive(self, step: int) -> None:
        """A training or evaluation step was made; `step` only grows. Called on every rank; cheap."""

    def stopping(self) -> bool:
        """True: write a checkpoint now, after a step or a report, and leave with status `stopped`. Asked
        some times a second."""

    def save(self, tensors: Mapping[str, torch.Tensor], document: Mapping[str, Json]) -> None:
        """Write a checkpoint, atomically; only the newest must stay loadable."""

    def load(self) -> tuple[dict[str, torch.Tensor], Document] | None:
        """The newest checkpoint that can be trusted, or None. Called on every rank."""


class SilentHooks:
    """Hooks of a training that nobody hears of, that goes on to its end and leaves nothing behind."""

    __slots__ = ()

    def report(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Goes on."""
        return True

    def alive(self, step: int) -> None:
        """Tells nobody."""

    def stopping(self) -> bool:
        """Never."""
        return False

    def save(self, tensors: Mapping[str, torch.Tensor], document: Mapping[str, Json]) -> None:
        """Writes nothing."""

    def load(self) -> tuple[dict[str, torch.Tensor], Document] | None:
        """Begins at the start."""
        return None


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
        keep: what a training function keeps of its files, below its directory; empty: nothing.
        test_scores: where the test part was read, each example's share in those of its metrics that are means
            over examples (`accuracy`, `mse`, …): float64 [examples], in the part's order (rank 0).
        code: for a training function that named its model: `build` and `predict` (`package.module:name`) and
            the SHA-256 of their source files (`build_sha256`, `predict_sha256`).
        kept_model: what a training function or a command named as its model of files; below its directory.
        example: rows that its model takes, as `trainers.bundle.frames.frame_to_json` has them; empty: none.
    """

    status: Literal["complete", "pruned", "stopped"]
    values: tuple[float, ...] = ()
    epoch: int = 0
    epochs: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, torch.Tensor] = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)
    keep: str = ""
    kept_model: KeptModel | None = None
    example: Mapping[str, Json] = field(default_factory=dict)
    test_scores: Mapping[str, torch.Tensor] = field(default_factory=dict)

    @property
    def has_model(self) -> bool:
        """Whether there is a model to keep."""
        return bool(self.weights) or self.kept_model is not None
