"""From the ledger's rows and events to MLflow's runs. Sending anything twice changes nothing: every point has
the ledger's time, parameters never change, tags and states are those of the newest row.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import TypeAlias

from infra.ledger.rows import EventRow, SweepRow, TrialRow, strip_measurements
from infra.ledger.summary import summarize_trials
from infra.spec import FamilySpec
from infra.tracking import shared_view
from infra.tracking.client import MissingEntity, RequestRejected, TrackingStore
from infra.tracking.description import run_link, sweep_note, table_link, trials_link
from infra.tracking.embedded_store import send_embedded
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
from infra.tracking.run_writer import (
    RunBeginning,
    RunWrite,
    TrialWrite,
    dataset_input,
    for_each,
    log_batch,
    send_write,
    set_status,
)
from trainers.registry import COMMAND
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
        """Brings the runs of the trials that the events are about up to date.

        Args:
            now: by a clock that only passes.
        """
        about: dict[tuple[str, str, int], list[EventRow]] = {}
        for event in events:
            if event.family is not None and event.role is not None and event.number is not None:
                about.setdefault((event.role, event.family, event.number), []).append(event)
        changed = [(self.trials[key], own) for key, own in about.items() if self._is_due(key, now)]
        for key in [key for key, since in self._asked.items() if now - since > WAITING_S]:
            del self._asked[key]
            changed.append((self.trials[key], []))
        self.send_trials(changed)

    def _is_due(self, key: tuple[str, str, int], now: float) -> bool:
        trial = self.trials.get(key)
        if trial is None:  # removed since
            return False
        if trial.state == "waiting" and not trial.attempts:
            self._asked.setdefault(key, now)
            return False
        self._asked.pop(key, None)
        return True

    def send_trials(self, changed: Iterable[tuple[TrialRow, Sequence[EventRow]]]) -> None:
        """Brings trials' runs up to date with their rows, and adds what their events report."""
        writes = [write for trial, events in changed if (write := self._plan(trial, events))]
        for_each(send_embedded(self._runs, writes), self._send_write, self._tracking)
        for trial in (write.trial for write in writes):
            if trial.has_ended and trial.key in self.trials:  # what was measured is sent: thousands stay
                self.trials[trial.key] = strip_measurements(trial)

    def _send_write(self, write: TrialWrite) -> None:
        try:
            send_write(self._runs, write)
        except (MissingEntity, RequestRejected) as error:
            self._diagnose_refusal(write.key, error)

    def _plan(self, trial: TrialRow, events: Sequence[EventRow]) -> TrialWrite | None:
        """What is to be written into a trial's run; None where somebody deleted it."""
        key = trial_key(self._runs.identity, trial.role, trial.family, trial.number)
        sent, status = self._runs.sent_state(key), STATUS[trial.state]
        if sent.status == DROPPED:
            return None
        begins, params = self._begin(key, trial) if sent.status == "" else (None, {})
        new = [event for event in events if event.seq > sent.seq]  # a pass that failed had sent some of them
        reported = [event for event in new if _event_epoch(event) > sent.epoch]
        points = [point for event in reported for point in report_points(event)]
        anew = any(event.kind == "ended" for event in new)
        if trial.has_ended and (anew or sent.status not in ENDED):
            points += final_points(self.sweep, trial)
        changed = status != sent.status or any(event.kind == "started" for event in new)
        seq = max([sent.seq, *(event.seq for event in events)])
        epoch = max([sent.epoch, *map(_event_epoch, reported)])
        return TrialWrite(
            key=key, trial=trial, begins=begins, params=params, points=points, at=time.time(),
            tags=state_tags(trial) if changed else {},
            before="RUNNING" if anew or not sent.status else sent.status,
            after=replace(sent, status=status, seq=seq, epoch=epoch),
        )  # fmt: skip

    def _begin(self, key: str, trial: TrialRow) -> tuple[RunBeginning, dict[str, str]]:
        """What a trial's run is made with, and the parameters to write into it."""
        family = self.sweep.spec.family(trial.family)
        params, inactive = run_parameters(family, trial, self._defaults(family, trial.params))
        tags = {
            **self._shared,
            **trial_tags(self.sweep, trial, inactive),
            "mlflow.parentRunId": self.parent_id(),
        }
        start, data = to_milliseconds(trial.started_at or trial.created_at), dataset_input(self.sweep, trial)
        return RunBeginning(name=run_name(trial), start=start, tags=tags, data=data), params

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
        self.send_trials([(trial, ()) for trial in self.trials.values() if self._differs(trial)])
        self.send_sweep()
        self._stop_strays()

    def _differs(self, trial: TrialRow) -> bool:
        key = trial_key(self._runs.identity, trial.role, trial.family, trial.number)
        return self._runs.sent_state(key).status != STATUS[trial.state]

    def _mark_abandoned(self) -> None:
        for key, trial in self.trials.items():
            if trial.state == "running":
                self.trials[key] = replace(trial, state="waiting")
        if self.sweep.state == "running":
            self.sweep = replace(self.sweep, state="stopped")

    def _stop_strays(self) -> None:
        wanted = {trial_key(self._runs.identity, *key): STATUS[t.state] for key, t in self.trials.items()}
        wanted[parent_key(self._runs.identity)] = SWEEP_STATUS[self.sweep.state]
        ended = {trial_key(self._runs.identity, *key): t.ended_at for key, t in self.trials.items()}
        # A command ends its run in its own words, perhaps after we did.
        commands = any(family.reference == COMMAND for family in self.sweep.spec.families)
        for key, run_id, found in self._runs.list_statuses(running_only=not commands):
            # A second run of one key was made by two processes at once; one of another key by a trial's code.
            ours = key in wanted and run_id == self._runs.sent_state(key).run_id
            if ours or found == "RUNNING":
                status = wanted[key] if ours else "KILLED"
                set_status(self._tracking, run_id, found, status, ended.get(key) or self.sweep.updated_at)


def _event_epoch(event: EventRow) -> int:
    return int(event.payload["epoch"]) if event.kind == "reported" else 0


def trial_keys(events: Collection[EventRow]) -> set[tuple[str, str, int]]:
    """Keys of the trials that events are about."""
    return {
        (event.role, event.family, event.number)
        for event in events
        if event.role is not None and event.family is not None and event.number is not None
    }
