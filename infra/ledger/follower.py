"""A sweep's trials as they stand, kept up to date by reading only what has changed."""

from __future__ import annotations

from infra.ledger import views
from infra.ledger.rows import TrialRow, strip_measurements
from infra.ledger.store import Ledger


class TrialFollower:
    """The trials of one role of a sweep, for who looks at them again and again.

    They are kept without parameters and what was measured (`params`, `metrics`, `facts` but for a model's
    size): thousands of them stay in the driver.
    """

    def __init__(self, ledger: Ledger, sweep_id: int, role: str) -> None:
        """Reads nothing yet."""
        self._ledger, self._sweep_id, self._role = ledger, sweep_id, role
        self._seq = 0
        self._trials: dict[tuple[str, str, int], TrialRow] = {}

    def trials(self) -> list[TrialRow]:
        """All of them, by what the ledger says now; by family and number."""
        seq, keys = views.changed_trials(self._ledger, self._sweep_id, after=self._seq, role=self._role)
        for trial in views.trials_by_key(self._ledger, self._sweep_id, keys):
            self._trials[trial.key] = strip_measurements(trial, params=False)
        self._seq = seq
        return [self._trials[key] for key in sorted(self._trials)]

    def first_value(self, goal: str) -> str:
        """While no trial has ended, what the newest report said of the goal; empty where nothing is to say.

        Trials may take minutes: that they learn is seen from their first epoch.
        """
        trials = self._trials.values()
        if any(trial.has_ended for trial in trials) or not any(trial.epochs for trial in trials):
            return ""
        told = views.last_event(self._ledger, self._sweep_id, "reported")
        value = None if told is None else told.payload["metrics"].get(goal)
        if told is None or value is None or told.role != self._role:
            return ""
        name = goal.removeprefix("val/")
        return f"{told.family} #{told.number}: {name} {value:.4g} after epoch {told.payload['epoch']}"
