"""Running people's own training functions: one attempt, and the check before anything is spent.

No Ray, no Optuna, no MLflow: a lane, a test and a notebook run the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, SupportsFloat

from trainers.errors import InputError
from trainers.functions.reports import check_metrics, require_goals
from trainers.functions.trial import FunctionJob, Trial
from trainers.job import Hooks, Outcome
from trainers.loop.memory import catch_out_of_memory
from trainers.loop.randomness import fix_torch_flags, seed_all
from trainers.types import Length

if TYPE_CHECKING:
    import torch


def run_function(job: FunctionJob, hooks: Hooks) -> Outcome:
    """Runs one attempt at a function.

    The outcome's status is `pruned` or `stopped` where the trial was told to end; what the function does
    afterwards no longer counts. Its `weights` and `code` are there where `trial.model` was called.
    """
    with fix_torch_flags(job.threads), catch_out_of_memory(job.device):
        seed_all(job.seed)
        trial = Trial(job, hooks)
        job.function(trial)
        return trial.outcome()


class _DryRunDone(BaseException):
    """Ends a function that is only looked at; no `except Exception` of its own may swallow it."""


class _NullHooks:
    """Hooks of a run that leaves nothing behind."""

    def report(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        return True

    def alive(self, step: int) -> None:
        pass

    def stopping(self) -> bool:
        return False

    def save(self, tensors: Mapping[str, torch.Tensor], document: Mapping[str, object]) -> None:
        pass

    def load(self) -> None:
        return None


class _DryRunTrial(Trial):
    """A trial that notes what is reported and ends at the second report."""

    def __init__(self, job: FunctionJob) -> None:
        super().__init__(job, _NullHooks())
        self.seen: dict[str, float] = {}

    def report(self, metrics: Mapping[str, SupportsFloat] | None = None, /, **named: SupportsFloat) -> None:
        super().report(metrics, **named)
        self.seen |= check_metrics({**(metrics or {}), **named}, self._job.goals)
        if not self._used_epochs and self._progress.reports >= 2:
            raise _DryRunDone


def dry_run_function(job: FunctionJob) -> dict[str, float]:
    """Runs two epochs (or reports) of the function, before anything is spent on it.

    Args:
        job: as for a real attempt; its length is replaced, and one checkpoint is made and thrown away.

    Returns:
        What was reported, by full names.
    """
    look = replace(job, length=Length(epochs=2), checkpoint_seconds=None, checkpoint_epochs=1)
    with fix_torch_flags(job.threads), catch_out_of_memory(job.device), suppress(_DryRunDone):
        seed_all(job.seed)
        trial = _DryRunTrial(look)
        job.function(trial)
    require_goals(trial.seen, job.goals, InputError)
    return trial.seen
