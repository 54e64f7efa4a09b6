"""What stays of an attempt that ended: its model, its samples, its own files, its test examples' scores."""

from __future__ import annotations

import traceback
from collections.abc import Mapping

from infra.coordinator.messages import Assignment
from infra.coordinator.policy import signed_value
from infra.lanes.attempt_functions import keep_own_files
from infra.lanes.attempt_jobs import AttemptJobs
from infra.storage.example_scores import TEST_SCORES, write_scores
from trainers.job import Outcome
from trainers.types import Json, JsonObject


class AttemptKeeper:
    """Keeps below the storage root what an outcome leaves there."""

    def __init__(self, jobs: AttemptJobs, *, rank: int, device: str) -> None:
        """Has kept nothing.

        Args:
            rank: this process's; the first keeps models.
            device: where samples are made.
        """
        self._jobs, self._rank, self._device = jobs, rank, device

    def keep(self, assignment: Assignment, outcome: Outcome) -> tuple[str | None, dict[str, Json]]:
        """The model's folder, relative to the storage, where it is kept, and what is known beside the
        outcome's own facts."""
        facts: dict[str, Json] = {}
        model, kept = None, outcome.status == "complete" and self._is_kept(assignment, outcome)
        if kept and outcome.has_model:
            model, measured = self._save_model(assignment, outcome)
            facts.update(measured)
            self._save_samples(assignment, outcome)
        if kept:
            spec = self._jobs.spec.family(assignment.family)
            keep_own_files(spec, outcome, self._jobs.folder(assignment))
        if outcome.test_scores:
            facts[TEST_SCORES] = self._save_scores(assignment, outcome)
        return model, facts

    def _is_kept(self, assignment: Assignment, outcome: Outcome) -> bool:
        if self._rank != 0 or not assignment.keep or not outcome.values:
            return False
        value = signed_value(self._jobs.spec.objectives[0], outcome.values[0])
        return assignment.keep_above is None or value > assignment.keep_above

    def _save_model(self, assignment: Assignment, outcome: Outcome) -> tuple[str, dict[str, float]]:
        from infra.lanes.attempt_models import save_bundle

        jobs, spec = self._jobs, self._jobs.spec.family(assignment.family)
        relative = jobs.trial_folder(assignment) / f"model-{assignment.ordinal}"
        about: JsonObject = {
            "sweep": jobs.spec.label, "family": spec.name, "number": assignment.number,
            "role": assignment.role, "seed": assignment.seed, "epoch": outcome.epoch,
            "metrics": dict(outcome.metrics), **self._reading(),
        }  # fmt: skip
        measured = save_bundle(
            jobs.storage / relative, spec, jobs.find_family(assignment), jobs.find_dataset(),
            assignment.params, outcome, about, jobs.cache,
        )  # fmt: skip
        return str(relative), measured

    def _reading(self) -> JsonObject:
        """`data.read` and the target's name, where it is said how the file is written."""
        data = self._jobs.spec.data
        read, columns = data.get("read"), data.get("columns")
        if not read:
            return {}
        return {"read": read, "target": columns.get("target") if isinstance(columns, Mapping) else None}

    def _save_scores(self, assignment: Assignment, outcome: Outcome) -> str:
        """Every test example's own scores, beside the model; returns the folder, relative to the storage."""
        relative = self._jobs.trial_folder(assignment) / f"test-{assignment.ordinal}"
        write_scores(self._jobs.storage / relative, outcome.test_scores)
        return str(relative)

    def _save_samples(self, assignment: Assignment, outcome: Outcome) -> None:
        """What the family shows of its kept weights; a model that is there is not lost for a picture."""
        from infra.lanes.attempt_models import save_samples

        family = self._jobs.find_family(assignment)
        if family is None:
            return
        try:
            save_samples(
                self._jobs.samples_folder(assignment), family, self._jobs.dataset(), assignment.params,
                outcome, self._jobs.cache, self._device,
            )  # fmt: skip
        except Exception:  # people's own families may raise anything here
            traceback.print_exc()
