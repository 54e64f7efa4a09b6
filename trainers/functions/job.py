"""What one attempt at a training function of people's own is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from trainers.types import Goal, Length, Params, Ranks

if TYPE_CHECKING:
    from trainers.data.dataset import Dataset


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionJob:
    """One attempt at one configuration of a function.

    Attributes:
        function: takes a `trainers.functions.trial.Trial`.
        params: what was sampled; a function has no defaults that Velodrome knows.
        seed: Python's, NumPy's and torch's generators are seeded with it on every rank.
        data: what `trial.data` is; None for `data: none`.
        directory: the trial's own folder, which exists; a later attempt finds what an earlier one left.
        sweep, family, number, attempt: which trial this is, and the how manieth attempt at it.
        earlier: what the trial's former attempts reported, by report (from 1); `earlier_seconds` they took.
        checkpoint_seconds, checkpoint_epochs: between checkpoints, or None.
        threads, per_second: as in `Job`.
    """

    function: Callable[..., object]
    params: Params
    seed: int
    length: Length
    goals: tuple[Goal, ...]
    directory: Path
    data: Dataset | None = None
    at: Literal["best", "last"] = "best"
    device: str = "cpu"
    ranks: Ranks = field(default_factory=Ranks)
    checkpoint_seconds: float | None = None
    checkpoint_epochs: int | None = None
    threads: int | None = None
    per_second: Mapping[str, float] = field(default_factory=dict)
    sweep: str = ""
    family: str = ""
    number: int = 0
    attempt: int = 1
    earlier: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    earlier_seconds: float = 0.0

    @property
    def reports(self) -> int:
        """How many epochs, or reports where the budget is in steps, a whole trial has."""
        if self.length.steps is not None:
            return -(-self.length.steps // (self.length.report_every or self.length.steps))
        return self.length.epochs or 0
