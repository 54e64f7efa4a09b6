"""What a sweep has used so far, over all its sessions: time, GPU seconds, processor seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from infra.coordinator.policy import exhausted_budget
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
