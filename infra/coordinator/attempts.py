"""Attempts under way and what comes of them: every change of a trial's state is made here."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from infra.coordinator import policy
from infra.coordinator.conclusions import Conclusions, PausedTrials
from infra.coordinator.messages import AttemptResult, EpochReport, LaneHandshake
from infra.coordinator.trial_table import STACK_LIMIT, TrialTable, is_paused
from infra.ledger.batch import WriteBatch
from infra.ledger.rows import EventRow, TrialRow, intern_names, storable_text
from infra.search.pruners import deciding_reports, pruner_options
from infra.search.study import Studies
from infra.spec import SweepSpec
from trainers.types import JsonObject

Key: TypeAlias = tuple[str, str, int]

PLACE = "place"  # in a trial's facts: where its last attempt runs or ran

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class RunningAttempt:
    """An attempt under way: its trial, its lane, and the reports of all the trial's attempts so far.

    Attributes:
        seconds_before: of the trial, over its earlier attempts.
        counted_to: until when its time is in the trial's seconds.
        unjudged: epochs where the pruner can decide and is still to be asked, and whether the ledger says so:
            a heartbeat may bring the report before the question does.
    """

    attempt: str
    trial: TrialRow
    lane: str
    reports: dict[int, dict[str, float]] = field(default_factory=dict)
    seconds_before: float = 0.0
    counted_to: float = 0.0
    unjudged: dict[int, bool] = field(default_factory=dict)


class Attempts:
    """The running attempts of one sweep. Changes go into `batch`, which its owner commits."""

    def __init__(
        self,
        spec: SweepSpec,
        book: TrialTable,
        studies: Studies | None,
        clock: Callable[[], float],
        steady: Callable[[], float],
    ) -> None:
        """Starts with nothing under way."""
        self._spec, self._book, self._studies = spec, book, studies
        self._clock, self._steady = clock, steady
        self.batch = WriteBatch()
        self.running: dict[str, RunningAttempt] = {}
        self.reports: dict[Key, dict[int, dict[str, float]]] = {}
        self._unjudged: dict[Key, dict[int, bool]] = {}
        self.conclusions = Conclusions(spec, book, studies, self.batch, clock)
        self.paused = PausedTrials(spec, book, studies, self.reports, self.conclusions, self.batch, clock)
        self._just_ended: dict[str, RunningAttempt] = {}  # attempts whose trial the pruner has ended

    def family_of(self, attempt: str) -> str:
        """The family of an attempt that runs, or that the pruner has just ended."""
        return (self.running.get(attempt) or self._just_ended[attempt]).trial.family

    def find_family(self, attempt: str) -> str | None:
        """As `family_of`; None where the attempt is neither."""
        known = self.running.get(attempt) or self._just_ended.get(attempt)
        return None if known is None else known.trial.family

    def on_lane(self, lane: str) -> list[RunningAttempt]:
        """The attempts that run on a lane: one, or the members of a stack."""
        return [running for running in self.running.values() if running.lane == lane]

    def start(self, trial: TrialRow, lane: LaneHandshake, attempt: str) -> None:
        """A lane begins an attempt."""
        now = self._clock()
        self._count_time(lane.lane)
        trial.attempts += 1
        trial.state = "running"
        trial.started_at = trial.started_at or now
        trial.facts[PLACE] = {"host": lane.host, "lane": lane.lane, "gpu": lane.facts.get("gpu", "")}
        self.adopt(RunningAttempt(attempt, trial, lane.lane, seconds_before=trial.seconds))
        process = {
            "host": lane.host, "machine": lane.machine, "pid": lane.pid, "pid_started_at": lane.pid_started_at
        }  # fmt: skip
        about = {"shape": lane.shape, "seconds_before": trial.seconds}
        facts = json.dumps({**lane.facts, **process, **about})
        self.batch.set_attempt(
            attempt, role=trial.role, family=trial.family, number=trial.number, ordinal=trial.attempts,
            lane=lane.lane, lane_facts=facts, started_at=now,
        )  # fmt: skip
        self.batch.add_event(
            "started", now, {"attempt": attempt, "ordinal": trial.attempts, "lane": lane.lane}, trial
        )

    def adopt(self, running: RunningAttempt) -> None:
        """Takes an attempt as under way, with what the trial's earlier attempts reported."""
        running.reports = self.reports.pop(running.trial.key, {})
        running.unjudged = self._unjudged.pop(running.trial.key, {})
        running.counted_to = self._steady()
        self.running[running.attempt] = running

    def save_seconds(self) -> None:
        """Writes down how long each running trial has trained, for whoever takes over from here."""
        for lane in {running.lane for running in self.running.values()}:
            self._count_time(lane)
        for running in self.running.values():
            self.batch.trials[running.trial.key] = running.trial

    def _count_time(self, lane: str) -> None:
        """Each attempt on a lane gets its share of the time that has passed since it was last counted."""
        now, together = self._steady(), self.on_lane(lane)
        for running in together:
            running.trial.seconds += max(0.0, now - running.counted_to) / len(together)
            running.counted_to = now

    def remember_reports(self, key: Key, events: Sequence[EventRow]) -> None:
        """What an open trial reported by its events, and where the pruner is still to be asked."""
        told = [event.payload for event in events if event.kind == "reported"]
        asked = {event.payload["epoch"] for event in events if event.kind == "judged"}
        self.reports[key] = {report["epoch"]: report["metrics"] for report in told}
        late = {report["epoch"] for report in told if not report.get("judged", True)}
        self._unjudged[key] = dict.fromkeys(late - asked, True)

    def record_reports(
        self, attempt: str, lane: str, reports: Sequence[EpochReport], *, judged: int = 0
    ) -> bool:
        """Takes reports of an attempt that runs on the lane; those that are known already change nothing.

        Args:
            judged: the epoch about which the pruner is asked together with this.

        Returns:
            Whether it runs there.
        """
        running = self.running.get(attempt)
        if running is None or running.lane != lane:
            return False
        for report in reports:
            if report.epoch not in running.reports:
                self._record_report(running, report, judged)
        return True

    def _record_report(self, running: RunningAttempt, report: EpochReport, judged: int) -> None:
        trial, goal = running.trial, self._spec.objectives[0].metric
        known = intern_names(report.metrics)
        metrics = {name: value for name, value in known.items() if math.isfinite(value)}
        payload: JsonObject = {"epoch": report.epoch, "metrics": metrics}
        if report.epoch == judged:
            running.unjudged[judged] = False
        elif self._decides(running, report.epoch):
            running.unjudged[report.epoch] = True
            payload["judged"] = False
        running.reports[report.epoch] = metrics
        trial.epochs = max(trial.epochs, report.epoch)
        self.batch.add_event("reported", report.at, payload, trial)
        if self._studies is not None and goal in metrics and trial.study_number is not None:
            self._studies.report(trial.family, trial.study_number, report.epoch, metrics[goal])

    def _decides(self, running: RunningAttempt, epoch: int) -> bool:
        """Whether the pruner can decide at an epoch, or at one between it and the report before."""
        family = self._spec.family(running.trial.family)
        if self._studies is None:
            return False
        deciding = deciding_reports(family.pruner, family.budget.reports)
        passed = range(max(running.reports, default=0) + 1, epoch + 1)
        return any(number in deciding for number in passed)

    def try_prune(self, attempt: str, epoch: int) -> bool:
        """Asks the pruner about the newest report, once, and ends the trial there if it says so, or has it
        wait there."""
        running = self.running[attempt]
        if is_paused(running.trial):
            return True
        if epoch not in running.unjudged:
            return False
        trial, goal = running.trial, self._spec.objectives[0].metric
        if running.unjudged.pop(epoch):
            self.batch.add_event("judged", self._clock(), {"epoch": epoch}, trial)
        if self._studies is None or trial.study_number is None or goal not in running.reports[epoch]:
            return False
        if not self._studies.should_prune(trial.family, trial.study_number):
            return False
        if pruner_options(self._spec.family(trial.family).pruner).pauses:
            self.paused.pause_at(trial, epoch)
            return True
        self._just_ended[attempt] = running
        self._finish_trial(running, "pruned", None)
        return True

    def end_attempt(self, ended: AttemptResult, lane: str, *, stopped: str = "stopped") -> None:
        """What a lane says of its attempt's end; changes nothing when the attempt is no longer its own.

        Args:
            stopped: the outcome of an attempt that its lane was told to stop.
        """
        running = self.running.get(ended.attempt)
        if running is None or running.lane != lane:
            self._record_late_end(ended, lane)
            return
        trial = running.trial
        self._count_time(lane)  # the lane's own count has what passed while no coordinator was there
        trial.seconds = max(trial.seconds, running.seconds_before + ended.seconds)
        trial.facts.update(intern_names(ended.facts))
        if ended.outcome == "failed":
            self.fail_attempt(running, ended.reason, ended.detail)
        elif ended.outcome == "stopped":
            self.return_to_waiting(running, "paused" if is_paused(trial) else stopped, "")
        elif ended.outcome == "complete" and not policy.is_objective(self._spec.objectives, ended.objective):
            found = ", ".join(map(repr, ended.objective)) or "no value"
            must = "the objective must be a finite number"
            self.fail_attempt(running, "not-finite", f"{must}, but got {found}")
        else:
            trial.metrics = intern_names(ended.metrics)
            trial.epoch, trial.model = ended.epoch, ended.model
            self._finish_trial(running, ended.outcome, list(ended.objective) or None)

    def _record_late_end(self, ended: AttemptResult, lane: str) -> None:
        """A pruned trial ended when the pruner said so; what its lane measured is known only now."""
        running = self._just_ended.get(ended.attempt)
        if running is not None and running.lane == lane:
            del self._just_ended[ended.attempt]
            running.trial.facts.update(ended.facts)
            self.batch.trials[running.trial.key] = running.trial

    def _finish_trial(self, running: RunningAttempt, state: str, objective: list[float] | None) -> None:
        trial = running.trial
        so_far = policy.objective_so_far(self._spec.objectives, running.reports)
        if objective is None and so_far is not None:
            trial.epoch, objective = so_far
        if not trial.metrics and trial.epoch:
            trial.metrics = dict(running.reports.get(trial.epoch, {}))
        trial.objective = objective
        self._close_attempt(running, state, trial.reason or "")
        self.conclusions.conclude(trial, state)
        if trial.model:
            self.conclusions.drop_beaten_models(trial)

    def fail_attempt(
        self, running: RunningAttempt, reason: str, detail: str, *, killed: bool = False
    ) -> None:
        """Charges a failure to the trial, which then ends or gets another attempt.

        Args:
            killed: whether its process was ended from outside.
        """
        trial, detail = running.trial, storable_text(detail)
        trial.failures += 1
        if policy.failure_action(reason, trial.failures, killed=killed) == "retry":
            self.return_to_waiting(running, reason, detail)
            return
        first_line = detail.strip().splitlines()[0] if detail.strip() else ""
        trial.reason = f"{reason}: {first_line}" if first_line else reason
        self.conclusions.take_objective(trial, running.reports)
        self._close_attempt(running, reason, detail)
        self.conclusions.conclude(trial, "failed")
        if self._book.is_family_broken(trial.family):
            _log.warning(
                "%s gets no more trials: all of its first failed, the last by %s", trial.family, trial.reason
            )

    def break_stack(self, members: Sequence[RunningAttempt], reason: str, detail: str) -> None:
        """A lane that trained several ended. Which of them is to blame is not known, so none is charged: all
        go on in stacks of half the size, until the one at fault is alone with it."""
        detail = storable_text(detail)
        for running in members:
            running.trial.origin = {**(running.trial.origin or {}), STACK_LIMIT: max(1, len(members) // 2)}
            self.return_to_waiting(running, reason, detail)

    def forget_lane(self, lane: str) -> None:
        """Nothing more is heard of what ended there."""
        self._just_ended = {name: ended for name, ended in self._just_ended.items() if ended.lane != lane}

    def return_to_waiting(self, running: RunningAttempt, outcome: str, detail: str) -> None:
        """Ends the attempt but not the trial, which goes on from its checkpoint."""
        trial = running.trial
        self._close_attempt(running, outcome, detail)
        trial.state = "waiting"
        self.reports[trial.key], self._unjudged[trial.key] = running.reports, running.unjudged
        self._book.queue(trial)
        self.batch.add_event("waiting", self._clock(), {"why": outcome}, trial)

    def _close_attempt(self, running: RunningAttempt, outcome: str, detail: str) -> None:
        now = self._clock()
        self._count_time(running.lane)
        del self.running[running.attempt]
        self.batch.set_attempt(running.attempt, ended_at=now, outcome=outcome, detail=detail[:20_000])
        payload = {"attempt": running.attempt, "outcome": outcome, "detail": detail[:2_000]}
        self.batch.add_event("attempt-ended", now, payload, running.trial)
