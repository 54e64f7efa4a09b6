"""Running people's own training functions: one attempt, and the check before anything is spent.

No Ray, no Optuna, no MLflow: a lane, a test and a notebook run the same.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, SupportsFloat

from trainers.code.exits import describe_exit
from trainers.code.mlflow_calls import discard_mlflow_calls
from trainers.errors import InputError, TrialError
from trainers.functions.isolation import isolate_process
from trainers.functions.job import FunctionJob
from trainers.functions.own_model import OwnModel
from trainers.functions.reports import check_metrics, name_metrics, require_goals
from trainers.functions.training_call import check_has_trained, check_training_function
from trainers.functions.trial import Trial
from trainers.job import Hooks, Outcome, SilentHooks
from trainers.loop.memory import catch_out_of_memory
from trainers.loop.randomness import fix_torch_flags, seed_all
from trainers.types import Length

if TYPE_CHECKING:
    pass

_ENOUGH = 2  # reports that a dry run is there for


def run_function(job: FunctionJob, hooks: Hooks) -> Outcome:
    """Runs one attempt at a function.

    The outcome's status is `pruned` or `stopped` where the trial was told to end; what the function does
    afterwards no longer counts. Its `weights` and `code` are there where `trial.model` was called.
    """
    with isolate_process(), fix_torch_flags(job.threads), catch_out_of_memory(job.device):
        seed_all(job.seed)
        trial = Trial(job, hooks)
        trial.share_checkpoint()
        _call_function(job, trial)
        return trial.outcome()


def _call_function(job: FunctionJob, trial: Trial) -> None:
    """Calls it; `sys.exit(0)` is a return, and another way to leave is the trial's error."""
    check_training_function(job.function)
    try:
        returned = job.function(trial)
        check_has_trained(job.function, returned)
        trial.take_returned(returned)
    except Exception as error:  # people's code may raise anything: all but one kind is the trial's own
        pruned: type[BaseException] | None = getattr(sys.modules.get("optuna"), "TrialPruned", None)
        if pruned is None or not isinstance(error, pruned):
            raise
        trial.end_pruned()
    except SystemExit as left:
        if left.code not in (None, 0):
            raise TrialError(
                "a training function must return, or end with sys.exit(0)",
                describe_exit(left),
                "its own words are in the log; a command line has no arguments here: parse_args([])",
            ) from left
    except KeyboardInterrupt as error:
        if threading.current_thread() is threading.main_thread():
            raise  # a person's, at a terminal or in a notebook
        raise TrialError("a training function must return", "it raised KeyboardInterrupt") from error
    except _DryRunDone:
        raise
    except BaseException as error:  # which nothing else would take for the trial's own
        raise TrialError("a training function must return", describe_exit(error)) from error


class _DryRunDone(BaseException):
    """Ends a function that is only looked at; no `except Exception` of its own may swallow it."""


class _DryRunTrial(Trial):
    """A trial that notes what is reported. After the second report `over` is true, so that what comes after
    the loop is run too; a function that reports on without asking is ended."""

    def __init__(self, job: FunctionJob) -> None:
        super().__init__(job, SilentHooks())
        self.seen: dict[str, float] = {}
        self._asked = False

    def report(
        self,
        metrics: Mapping[str, SupportsFloat] | SupportsFloat | None = None,
        step: int | None = None,
        /,
        **named: SupportsFloat,
    ) -> None:
        """See `Trial.report`; what is reported is kept to be looked at."""
        reports = self._log.progress.reports
        if not self._used_epochs and reports >= _ENOUGH and not self._asked:
            raise _DryRunDone
        super().report(metrics, step, **named)
        self.seen |= check_metrics(name_metrics(metrics, named, self._job.goals), self._job.goals)

    @property
    def own_model(self) -> OwnModel:
        """What it has named as its model."""
        return self._own

    def spent_goals(self) -> dict[str, float]:
        """What it is judged by and need not report."""
        return self._log.spent_goals()

    def over(self) -> bool:
        self._asked = super().over()
        return self._asked


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionDryRun:
    """What a dry run told.

    Attributes:
        reported: by full names.
        parameters, size_bytes: of the module that the function gave to the trial; None: it gave none.
        answers_raw: whether it named a module without a `predict`.
    """

    reported: Mapping[str, float]
    parameters: int | None
    size_bytes: int | None
    answers_raw: bool


def dry_run_function(job: FunctionJob) -> FunctionDryRun:
    """Runs two epochs (or reports) of the function, before anything is spent on it.

    Args:
        job: as for a real attempt; its length is replaced, and one checkpoint is made and thrown away.
    """
    look = replace(job, length=Length(epochs=_ENOUGH), checkpoint_seconds=None, checkpoint_epochs=1)
    with (
        discard_mlflow_calls(),
        isolate_process(),
        fix_torch_flags(job.threads),
        catch_out_of_memory(job.device),
        suppress(_DryRunDone),
    ):
        seed_all(job.seed)
        trial = _DryRunTrial(look)
        _call_function(job, trial)
        trial.own_model.check_rebuilt(job.params)
    require_goals({**trial.seen, **trial.spent_goals()}, job.goals, InputError)
    size = trial.model_size()
    return FunctionDryRun(
        reported=trial.seen, parameters=size.get("parameters"), size_bytes=size.get("size_bytes"),
        answers_raw=trial.own_model.answers_raw,
    )  # fmt: skip
