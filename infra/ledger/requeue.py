"""A failed trial made to wait again."""

from __future__ import annotations

from collections.abc import Mapping

from infra.ledger.rows import TrialRow
from trainers.types import Json


def requeue_trial(trial: TrialRow, resources: Mapping[str, Json] | None) -> None:
    """A failed trial waits again, with other resources where they are given.

    Its Optuna trial stays failed: the study's numbers are not ours to reuse, so a success is told to the
    sampler as a new finished trial.
    """
    trial.state, trial.reason, trial.failures, trial.ended_at = "waiting", None, 0, None
    trial.study_number, trial.objective, trial.epoch, trial.model = None, None, 0, None
    trial.resources = dict(resources) if resources else trial.resources
