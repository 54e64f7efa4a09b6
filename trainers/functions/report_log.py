"""A function's reports: numbered over all attempts at its trial, judged, and what is best so far."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from trainers.functions.report_steps import UntoldReports
from trainers.functions.state_dicts import plain_weights
from trainers.loop.energy import read_energy
from trainers.loop.facts import spent_facts
from trainers.loop.progress import TrainingProgress
from trainers.metric_names import full_name

if TYPE_CHECKING:
    import torch

    from trainers.functions.job import FunctionJob
    from trainers.job import Hooks


@runtime_checkable
class DeferringHooks(Protocol):
    """Hooks that can tell of a report at once and judge it later."""

    def hold(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Takes a report that nobody judges yet."""

    def judge(self) -> bool:
        """Has the report that was held last judged. False: stop here, the pruner said so."""


@runtime_checkable
class DeliveringHooks(Protocol):
    """Hooks that hold reports for a while, and can be told not to."""

    def send_heartbeat(self) -> None:
        """Has all that was reported known now."""


class ReportLog:
    """The reports of rank 0. `epochs` sends one a body; elsewhere each is sent as it comes and judged when
    the function goes on: the last one of a function has nothing left to stop."""

    def __init__(self, job: FunctionJob, hooks: Hooks) -> None:
        """Nothing is reported yet."""
        self._job, self._hooks = job, hooks
        self.progress = TrainingProgress()
        self.pending: dict[str, float] = {}  # reported, not sent yet
        self.seen: set[str] = set()
        self.module: torch.nn.Module | None = None  # whose weights are kept
        self.weights: dict[str, torch.Tensor] | None = None  # of the kept report
        self.sent_last = False
        self.last: Mapping[str, float] = {}  # the newest report
        self._answer = True  # of hooks that judged at once
        self._recalled = False
        self.begun = False  # something was reported in this attempt, or said of where it begins
        self._repeated = 0  # reports of an earlier attempt that are still to come again
        self._undelivered, self._delivered_at = False, -math.inf
        self._untold = UntoldReports(job.directory)
        self._denied = False  # the pruner said no to one of them
        self.earlier: dict[int, Mapping[str, float]] = {}  # what former attempts reported, by number
        self._began, self.earlier_s = time.monotonic(), 0.0
        self._joules, self.earlier_joules = read_energy(), 0.0
        self._told: set[str] = set()  # names of costs that the function reports by itself

    @property
    def keeps_best(self) -> bool:
        """Whether the best report's weights are kept, and not the last's."""
        return self._job.at == "best" and bool(self._job.goals)

    @property
    def train_seconds(self) -> float:
        """Of the trial, over all attempts."""
        return self.earlier_s + time.monotonic() - self._began

    def spent(self) -> dict[str, float]:
        """What the trial has taken over all attempts, by the names of facts."""
        now = read_energy()
        joules = None if now is None or self._joules is None else self.earlier_joules + now - self._joules
        return spent_facts(self.train_seconds, joules, self._job.per_second)

    def spent_goals(self) -> dict[str, float]:
        """What it is judged by of that, by full names; not what the function reports by itself."""
        spent = self.spent()
        names = {full_name(goal.metric): goal.metric.removeprefix("val/") for goal in self._job.goals}
        return {full: spent[name] for full, name in names.items() if name in spent and full not in self._told}

    def recall_earlier(self) -> None:
        """Takes over what former attempts reported, once: for a function that resumes by its own means."""
        if self._recalled:
            return
        self._recalled, self.earlier_s = True, self._job.earlier_seconds
        self.earlier.update(self._job.earlier)
        for number, metrics in sorted(self._job.earlier.items()):
            self.progress.reports = number - 1
            own = {name: value for name, value in metrics.items() if not name.startswith("system/")}
            self.seen |= own.keys()
            self.last = own
            self._record(own)
            self.earlier_joules = own.get("val/energy_joules", self.earlier_joules)
        if isinstance(self._hooks, DeliveringHooks):
            self._tell_noted()

    def _tell_noted(self) -> None:
        """Tells what a former attempt had no time for before its process was killed."""
        for metrics in self._untold.read_after(self.progress.reports):
            if not self.judge():
                self._denied = True
                break
            self.pending = dict(metrics)
            self.send(deferred=True)
            self.earlier[self.progress.reports] = self.last
        self.deliver()
        self._untold.clear()

    def begin_after(self, reports: int) -> None:
        """The next report is the one after so many: what the trial has beyond comes again and is left out.

        Without effect once something was reported in this attempt.
        """
        if not self.begun:
            self.recall_earlier()
            self.begun, self._repeated = True, max(0, self.progress.reports - reports)

    def skip_repeated(self) -> bool:
        """Whether the next report is one that the trial has."""
        self.begun = True
        if self._repeated == 0:
            return False
        self._repeated -= 1
        return True

    def send(self, *, deferred: bool) -> bool:
        """Sends what is pending as the next report; none is sent of a body that reported nothing.

        Args:
            deferred: it is judged by `judge`, when the function goes on.

        Returns:
            False: the pruner said stop.
        """
        progress, metrics = self.progress, self.pending
        self.pending, self.sent_last = {}, bool(metrics)
        self._told |= metrics.keys()
        self.seen |= metrics.keys()
        metrics = {**self.spent_goals(), **metrics} if metrics else metrics
        self.last = metrics or self.last
        self.count_time()
        if self._record(metrics):
            self.weights = plain_weights(self.module) if self.module is not None else None
        if not metrics:
            return True
        self._undelivered = True
        if isinstance(self._hooks, DeferringHooks):
            self._hooks.hold(progress.reports, metrics)
        else:
            self._answer = self._hooks.report(progress.reports, metrics)
        return deferred or self.judge()

    def judge(self) -> bool:
        """Whether to go on after the last report. One that ends the budget is not judged: all is spent."""
        if self._denied:
            return False
        if self.progress.reports >= self._job.reports:
            return True
        if isinstance(self._hooks, DeferringHooks):
            return self._hooks.judge()
        return self._answer

    def deliver(self, *, every_s: float = 0.0) -> None:
        """Has what was reported known now: what own code writes next may let it skip that when it resumes.

        Args:
            every_s: no sooner after the last time, so that many reports a second cost little; until then it
                is noted in the trial's folder.
        """
        now = time.monotonic()
        if not self._undelivered or not isinstance(self._hooks, DeliveringHooks):
            return
        if now - self._delivered_at < every_s and self._untold.note(self.progress.reports, self.last):
            return
        self._undelivered, self._delivered_at = False, now
        self._hooks.send_heartbeat()
        self._untold.clear()

    def is_spent(self) -> bool:
        """Whether the budget, `patience` or the time is used up."""
        progress = self.progress
        self.count_time()
        # `is_finished` counts steps; here the reports are what is counted.
        return progress.reports >= self._job.reports or progress.is_finished(
            self._job.length, progress.step + 1
        )

    def count_time(self) -> None:
        """Takes into the progress, which checkpoints hold, what was spent up to now."""
        spent = self.spent()
        self.progress.seconds = spent["train_seconds"]
        self.progress.joules = spent.get("energy_joules", self.earlier_joules)

    def _record(self, metrics: dict[str, float]) -> bool:
        """Counts a report. True: its weights are the ones to keep."""
        progress, goals = self.progress, self._job.goals
        if goals and full_name(goals[0].metric) in metrics:
            return (
                progress.record_report(metrics, goals[0], self._job.length, self._job.at) and self.keeps_best
            )
        progress.reports += 1
        if metrics and not goals:  # nothing is judged: the last report stands
            progress.kept_epoch, progress.kept = progress.reports, metrics
        return False
