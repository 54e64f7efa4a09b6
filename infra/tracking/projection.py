"""From the ledger's rows and events to MLflow's runs. Sending anything twice changes nothing: every point has
the ledger's time, parameters never change, tags and states are those of the newest row.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from infra.ledger.rows import EventRow, SweepRow, TrialRow, strip_measurements
from infra.spec import FamilySpec
from infra.tracking import shared_view
from infra.tracking.client import MissingEntity, RequestRejected, TrackingStore
from infra.tracking.description import run_link, sweep_note, table_link, trials_link
from infra.tracking.mapping import (
    ENDED,
    KEY,
    STATUS,
    SWEEP_STATUS,
    final_points,
    parent_key,
    report_points,
    run_name,
    run_parameters,
    state_tags,
    sweep_tags,
    to_milliseconds,
    trial_key,
    trial_tags,
)
from infra.tracking.outbox import DROPPED
from infra.tracking.run_index import RunIndex
from infra.tracking.run_writer import RunWrite, dataset_input, log_accepted, log_batch, set_status
from infra.tracking.summary import summarize_trials

if TYPE_CHECKING:
    from trainers.types import Params

log = logging.getLogger("velodrome.tracking")

WAITING_S = 5.0  # a trial asked for ahead of its lane gets no run of its own before it has waited this long

Defaults: TypeAlias = "Callable[[FamilySpec, Params], Params]"


class TrackingLost(Exception):
    """The experiment or the parent run is gone: everything is to be sent again."""


class Projection:
    """Writes one sweep's runs."""

    def __init__(
        self, runs: RunIndex, sweep: SweepRow, trials: Iterable[TrialRow], defaults: Defaults
    ) -> None:
        """Starts from what the ledger has.

        Args:
            runs: where they are written.
            sweep: the newest row is set by `refresh`.
            trials: all of the sweep, confirmations too.
            defaults: what training uses for a family's parameters that were not sampled.
        """
        self._runs, self._defaults = runs, defaults
        self.sweep = sweep
        self.trials: dict[tuple[str, str, int], TrialRow] = {trial.key: trial for trial in trials}
        self._asked: dict[tuple[str, str, int], float] = {}
        self._shared = sweep_tags(sweep)
        self._shown: tuple[str, str] | None = None  # the parent's note and state, as last sent

    @property
    def _tracking(self) -> TrackingStore:
        return self._runs.tracking

    def refresh(self, sweep: SweepRow, trials: Iterable[TrialRow]) -> None:
        """Takes newer rows."""
        self.sweep, self._shared = sweep, sweep_tags(sweep)
        self.trials |= {trial.key: trial for trial in trials}

    # -- trials --------------------------------------------------------------------------------------------

    def send_events(self, events: Sequence[EventRow], now: float) -> None:
        """Brings the runs of the trials that the events are about up to date, one after another.

        Args:
            now: by a clock that only passes.
        """
        about: dict[tuple[str, str, int], list[EventRow]] = {}
        for event in events:
            if event.family is not None and event.role is not None and event.number is not None:
                about.setdefault((event.role, event.family, event.number), []).append(event)
        for key, own in about.items():
            self._send_or_postpone(key, own, now)
        for key in [key for key, since in self._asked.items() if now - since > WAITING_S]:
            del self._asked[key]
            self.send_trial(self.trials[key], ())

    def _send_or_postpone(self, key: tuple[str, str, int], events: Sequence[EventRow], now: float) -> None:
        trial = self.trials.get(key)
        if trial is None:  # removed since
            return
        if trial.state == "waiting" and not trial.attempts:
            self._asked.setdefault(key, now)
            return
        self._asked.pop(key, None)
        self.send_trial(trial, events)

    def send_trial(self, trial: TrialRow, events: Sequence[EventRow]) -> None:
        """Brings one trial's run up to date with its row, and adds what its events report."""
        key = trial_key(self._runs.identity, trial.role, trial.family, trial.number)
        if self._runs.sent_state(key).status == DROPPED:
            return
        try:
            self._send_trial(key, trial, events)
        except (MissingEntity, RequestRejected) as error:
            self._diagnose_refusal(key, error)

    def _send_trial(self, key: str, trial: TrialRow, events: Sequence[EventRow]) -> None:
        first, made, params = self._runs.sent_state(key).status == "", False, dict[str, str]()
        if first:
            made, params = self._ensure_run(key, trial)
        sent = self._runs.sent_state(key)
        reported = [e for e in events if e.seq > sent.seq and _event_epoch(e) > sent.epoch]
        write = RunWrite(params=params, points=[point for e in reported for point in report_points(e)])
        status = STATUS[trial.state]
        if not made and (status != sent.status or any(e.kind == "started" for e in events)):
            write.tags = state_tags(trial)
        anew = any(e.kind == "ended" for e in events)
        if trial.has_ended and (anew or sent.status not in ENDED):
            write.points += final_points(self.sweep, trial)
        log_accepted(self._runs, key, write)
        if first:
            self._tracking.call("log_inputs", sent.run_id, datasets=[dataset_input(self.sweep, trial)])
        before = "RUNNING" if anew or not sent.status else sent.status
        set_status(self._tracking, sent.run_id or "", before, status, trial.ended_at)
        seq, epoch = (
            max([sent.seq, *(e.seq for e in events)]),
            max([sent.epoch, *map(_event_epoch, reported)]),
        )
        self._runs.put(key, replace(sent, status=status, seq=seq, epoch=epoch))
        if (
            trial.has_ended and trial.key in self.trials
        ):  # what was measured is sent: thousands of trials stay
            self.trials[trial.key] = strip_measurements(trial)

    def _ensure_run(self, key: str, trial: TrialRow) -> tuple[bool, dict[str, str]]:
        """Whether the run was made just now, and the parameters to write into it."""
        family = self.sweep.spec.family(trial.family)
        params, inactive = run_parameters(family, trial, self._defaults(family, trial.params))
        tags = {
            **self._shared,
            **trial_tags(self.sweep, trial, inactive),
            "mlflow.parentRunId": self.parent_id(),
        }
        start = to_milliseconds(trial.started_at or trial.created_at)
        return self._runs.ensure_run(key, run_name(trial), start, tags), params

    def _diagnose_refusal(self, key: str, error: Exception) -> None:
        """After a refusal: is it this run alone, or all of them?"""
        try:
            experiment = self._tracking.call("get_experiment", self._runs.experiment_id)
        except MissingEntity:
            raise TrackingLost from None
        if (
            experiment.lifecycle_stage != "active"
            or self._runs.is_alive(parent_key(self._runs.identity)) is False
        ):
            raise TrackingLost
        why = "was deleted in tracking" if self._runs.is_alive(key) is not True else f"is refused: {error}"
        log.warning("%s %s; nothing more is sent to it", key, why)
        self._runs.put(key, replace(self._runs.sent_state(key), status=DROPPED))

    # -- the sweep -----------------------------------------------------------------------------------------

    def parent_id(self) -> str:
        """The parent's run, or an empty text where it is not made."""
        return self._runs.sent_state(parent_key(self._runs.identity)).run_id or ""

    def ensure_parent(self) -> None:
        """Makes the parent run, before any child."""
        key = parent_key(self._runs.identity)
        tags = {**self._shared, KEY: key, "velodrome.state": self.sweep.state, "velodrome.role": "sweep"}
        start = to_milliseconds(self.sweep.created_at)
        self._runs.ensure_run(key, self.sweep.label, start, tags)

    def send_sweep(self) -> None:
        """The parent's state, note and best values, as the ledger has them now."""
        key = parent_key(self._runs.identity)
        if self._runs.sent_state(key).status == DROPPED:
            return
        try:
            self._send_sweep(key)
        except (MissingEntity, RequestRejected) as error:
            self._diagnose_refusal(key, error)

    def _send_sweep(self, key: str) -> None:
        state = summarize_trials(self.sweep.spec.objectives, self.trials.values())
        text = sweep_note(self.sweep, state, self._trial_link, self._trials_link())
        shown = (text, self.sweep.state)
        if shown == self._shown:
            return
        tags = {**self._shared, "mlflow.note.content": text, "velodrome.state": self.sweep.state}
        log_batch(self._tracking, self.parent_id(), RunWrite(tags=tags))
        status, sent = SWEEP_STATUS[self.sweep.state], self._runs.sent_state(key)
        set_status(self._tracking, self.parent_id(), sent.status or "RUNNING", status, self.sweep.updated_at)
        self._runs.put(key, replace(sent, status=status))
        if self._shown is None or self.sweep.state != "running":
            self._set_experiment_tag("mlflow.note.content", text)
        if self._shown is None:
            spec = self.sweep.spec
            self._set_experiment_tag(
                shared_view.TAG + shared_view.view_key(spec), shared_view.view_state(spec)
            )
        self._shown = shown

    def _set_experiment_tag(self, name: str, value: str) -> None:
        self._tracking.call("set_experiment_tag", self._runs.experiment_id, name, value)

    def _trials_link(self) -> str:
        experiment, view = self._runs.experiment_id, shared_view.view_key(self.sweep.spec)
        charts, table = trials_link(experiment, view), table_link(experiment, view)
        return f"[curves]({charts}) · [trials, best first]({table})"

    def _trial_link(self, trial: TrialRow) -> str | None:
        run_id = self._runs.sent_state(trial_key(self._runs.identity, *trial.key)).run_id
        return run_link(self._runs.experiment_id, run_id) if run_id else None

    # -- the end -------------------------------------------------------------------------------------------

    def reconcile(self, *, abandoned: bool) -> None:
        """Makes every run say what the ledger says, also those that an earlier process left RUNNING.

        Args:
            abandoned: nobody runs the sweep any more: what the ledger has as running waits.
        """
        if abandoned:
            self._mark_abandoned()
        for trial in self.trials.values():
            key = trial_key(self._runs.identity, trial.role, trial.family, trial.number)
            if self._runs.sent_state(key).status != STATUS[trial.state]:
                self.send_trial(trial, ())
        self.send_sweep()
        self._stop_strays()

    def _mark_abandoned(self) -> None:
        for key, trial in self.trials.items():
            if trial.state == "running":
                self.trials[key] = replace(trial, state="waiting")
        if self.sweep.state == "running":
            self.sweep = replace(self.sweep, state="stopped")

    def _stop_strays(self) -> None:
        wanted = {trial_key(self._runs.identity, *key): STATUS[t.state] for key, t in self.trials.items()}
        wanted[parent_key(self._runs.identity)] = SWEEP_STATUS[self.sweep.state]
        for key, run_id in self._runs.list_running():
            status = wanted.get(key, "KILLED")
            if run_id != self._runs.sent_state(key).run_id:
                status = "KILLED"  # a second run of one key: made by two processes at once
            set_status(self._tracking, run_id, "RUNNING", status, self.sweep.updated_at)


def _event_epoch(event: EventRow) -> int:
    return int(event.payload["epoch"]) if event.kind == "reported" else 0


def trial_keys(events: Collection[EventRow]) -> set[tuple[str, str, int]]:
    """Keys of the trials that events are about."""
    return {
        (event.role, event.family, event.number)
        for event in events
        if event.role is not None and event.family is not None and event.number is not None
    }
