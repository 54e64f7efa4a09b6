"""What a sweep has used so far, over all its sessions: time, GPU seconds, processor seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from infra.coordinator.attempts import Attempts
from infra.coordinator.lane_table import LaneTable
from infra.coordinator.policy import StopCause, exhausted_budget
from infra.coordinator.standing import SweepStanding
from infra.coordinator.trial_needs import TrialNeeds
from infra.spec import Resources, SweepSpec

SAVE_EVERY_S = 5.0


class BudgetUsage:
    """Counts up while attempts run."""

    def __init__(self, before: Mapping[str, float], now: float) -> None:
        """Goes on from what earlier sessions used (`facts["spent"]` of the sweep)."""
        self.used = {"elapsed_s": 0.0, "gpu_s": 0.0, "cpu_s": 0.0, **before}
        self._counted_until = self._saved_at = now

    def add_time(self, now: float, running: Iterable[Resources]) -> None:
        """Adds the time since the last count for what is running."""
        passed, self._counted_until = now - self._counted_until, now
        self.used["elapsed_s"] += passed
        for resources in running:
            self.used["gpu_s"] += passed * resources.workers * (resources.gpus or 0.0)
            self.used["cpu_s"] += passed * resources.workers * resources.cpus

    def find_exhausted(self, spec: SweepSpec) -> str | None:
        """Which budget of the whole sweep is spent, in words, or None."""
        return exhausted_budget(spec, self.used["elapsed_s"], self.used["gpu_s"], self.used["cpu_s"])

    def is_save_due(self, now: float) -> bool:
        """Whether it is time to write the numbers down again."""
        if now - self._saved_at <= SAVE_EVERY_S:
            return False
        self._saved_at = now
        return True


class SweepBudget:
    """Counts what a sweep's lanes hold while they train, and stops the sweep where its budget is spent."""

    def __init__(
        self, standing: SweepStanding, attempts: Attempts, needs: TrialNeeds, roster: LaneTable, now: float
    ) -> None:
        """Goes on from what the sweep's facts say was used."""
        self._standing, self._attempts, self._needs, self._roster = standing, attempts, needs, roster
        self.usage = BudgetUsage(standing.sweep.facts.get("spent", {}), now)

    def update(self, now: float) -> None:
        """Counts until now; writes the numbers down where it is time to."""
        save_due = self.usage.is_save_due(now)
        if save_due:
            self._attempts.save_seconds()
        if self._standing.role != "search":  # the budget is the search's: a sweep beyond it can be confirmed
            return
        by_lane = {running.lane: running.trial for running in self._attempts.running.values()}
        held = [self._needs.held_by(self._roster.holder(lane), trial) for lane, trial in by_lane.items()]
        self.usage.add_time(now, held)
        why = self.usage.find_exhausted(self._standing.spec)
        if why is not None and self._standing.state == "running":
            self._standing.request_stop(why, StopCause.BUDGET)
        if save_due:
            self.save()

    def save(self) -> None:
        """Writes down what the search has used."""
        if self._standing.role == "search":
            self._standing.set_facts(spent=self.usage.used)
