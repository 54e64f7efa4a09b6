"""How trials end, those among them that wait at a rung until nothing more comes to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from infra.coordinator import policy
from infra.coordinator.trial_table import PAUSED, TrialTable
from infra.ledger.batch import WriteBatch
from infra.ledger.rows import TrialRow
from infra.search.study import Studies
from infra.spec import SweepSpec
from infra.storage.paths import CHECKPOINTS, trial_folder
from trainers.types import JsonObject

FAILED_CHECKPOINTS = 10  # of that many failed trials, the newest, `retry` finds a checkpoint
Reports: TypeAlias = Mapping[int, Mapping[str, float]]


class Conclusions:
    """Ends trials: in their rows, in their study, and with what is not needed any more."""

    def __init__(
        self,
        spec: SweepSpec,
        book: TrialTable,
        studies: Studies | None,
        batch: WriteBatch,
        clock: Callable[[], float],
    ) -> None:
        """Has ended none.

        Args:
            batch: takes what is to be written.
        """
        self._spec, self._book, self._studies = spec, book, studies
        self._batch, self._clock = batch, clock
        self.dropped_folders: list[str] = []
        failed = (trial for trial in book.all_trials() if trial.state == "failed")
        self._failed = sorted(failed, key=lambda trial: trial.created_at)[-FAILED_CHECKPOINTS:]

    def conclude(self, trial: TrialRow, state: str) -> None:
        """The trial is over, and its study hears of it."""
        now = self._clock()
        trial.state = state
        trial.ended_at = max(now, trial.started_at or now)  # the clock may have been set back
        if self._studies is not None:
            self._tell_study(self._studies, trial)
        payload: JsonObject = {"state": state, "objective": trial.objective, "reason": trial.reason}
        self._batch.add_event("ended", now, payload, trial)
        if state == "failed":
            self._drop_old_checkpoints(trial)

    def _drop_old_checkpoints(self, newest: TrialRow) -> None:
        """A failed trial may be tried again from its checkpoint; of many only the newest may, or they would
        fill a disk."""
        failed = [trial for trial in self._failed if trial.state == "failed" and trial is not newest]
        failed.append(newest)
        for trial in failed[:-FAILED_CHECKPOINTS]:
            folder = trial_folder(self._spec.label, trial.role, trial.family, trial.number)
            self.dropped_folders.append(str(folder / CHECKPOINTS))
        self._failed = failed[-FAILED_CHECKPOINTS:]

    def take_objective(self, trial: TrialRow, reports: Reports) -> bool:
        """The objective is what the reports come to so far; False where they come to none."""
        so_far = policy.objective_so_far(self._spec.objectives, reports)
        if so_far is not None:
            trial.epoch, trial.objective = so_far
        return so_far is not None

    def drop_beaten_models(self, trial: TrialRow) -> None:
        """The trial has a model: those that are not among the best any more are let go."""
        if trial.role != "search":
            return
        self._book.record_model(trial)
        family = self._book.trials_with_model(trial.family)
        for beaten in policy.models_to_drop(self._spec.objectives[0], self._spec.keep_models, family):
            self.dropped_folders.append(str(beaten.model))
            beaten.model = None
            self._book.record_model(beaten)
            self._batch.trials[beaten.key] = beaten

    def _tell_study(self, studies: Studies, trial: TrialRow) -> None:
        if trial.study_number is not None:
            studies.tell(trial.family, trial.study_number, trial.state, trial.objective)
        elif trial.state == "complete" and trial.objective:  # a failure that was tried again
            family = self._spec.family(trial.family)
            trial.study_number = studies.add_trial(family, trial.params, trial.objective)


class PausedTrials:
    """Trials that wait at a rung. They go on when they are among the best there."""

    def __init__(
        self,
        spec: SweepSpec,
        book: TrialTable,
        studies: Studies | None,
        reports: Mapping[tuple[str, str, int], Reports],
        conclusions: Conclusions,
        batch: WriteBatch,
        clock: Callable[[], float],
    ) -> None:
        """Finds them in the table.

        Args:
            reports: of trials that wait.
        """
        self._spec, self._book, self._studies, self._reports = spec, book, studies, reports
        self._conclusions, self._batch, self._clock = conclusions, batch, clock

    def pause_at(self, trial: TrialRow, epoch: int) -> None:
        """The trial will wait there. At once, so that whoever takes over from here knows that the rung was
        not passed."""
        trial.origin = {**(trial.origin or {}), PAUSED: epoch}
        self._batch.trials[trial.key] = trial

    def resume_one(self, fits: Callable[[TrialRow], bool]) -> None:
        """The first that is among the best of its rung by now gets in line."""
        for trial in self._book.paused_trials():
            if fits(trial) and self._may_go_on(trial):
                trial.origin = {**(trial.origin or {}), PAUSED: None}
                self._book.resume(trial)
                self._batch.add_event("resumed", self._clock(), {}, trial)
                return

    def end_all(self, family: str) -> None:
        """Nothing more comes to the family's rungs: trials that wait there are pruned, if none may go on."""
        paused = self._book.paused_trials(family)
        if any(self._may_go_on(trial) for trial in paused):
            return
        for trial in paused:
            reports = self._reports.get(trial.key, {})
            if self._conclusions.take_objective(trial, reports):
                trial.metrics = dict(reports[trial.epoch])
            trial.origin = {**(trial.origin or {}), PAUSED: None}
            self._book.forget_paused(trial)
            self._conclusions.conclude(trial, "pruned")
            folder = trial_folder(self._spec.label, trial.role, trial.family, trial.number)
            self._conclusions.dropped_folders.append(str(folder / CHECKPOINTS))

    def _may_go_on(self, trial: TrialRow) -> bool:
        epoch = int((trial.origin or {}).get(PAUSED) or 0)
        value = self._reports.get(trial.key, {}).get(epoch, {}).get(self._spec.objectives[0].metric)
        if self._studies is None or value is None:
            return True
        return self._studies.may_go_on(trial.family, epoch, value)
