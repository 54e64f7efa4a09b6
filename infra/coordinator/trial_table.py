"""All trials of a sweep in memory: who waits, how many were asked for, what each family has."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence

from infra.ledger.broken_families import is_broken
from infra.ledger.rows import TrialRow
from infra.spec import SweepSpec

Key = tuple[str, str, int]
PAUSED = "paused_at"  # in a trial's origin: the rung at which it waits
STACK_LIMIT = "stack_limit"  # in a trial's origin: how many its stack may have at most


def is_paused(trial: TrialRow) -> bool:
    """Whether the trial waits at a rung until it is among the best there."""
    return bool((trial.origin or {}).get(PAUSED))


def stack_limit(trial: TrialRow) -> float:
    """How many the trial's stack may have at most."""
    return float((trial.origin or {}).get(STACK_LIMIT, math.inf))


class TrialTable:
    """The trials of one role, by family, and the two queues of those that wait: trials that ran before and
    go on first, and fresh ones in the order in which they were asked for."""

    def __init__(
        self,
        spec: SweepSpec,
        trials: Iterable[TrialRow],
        *,
        asks: bool = True,
    ) -> None:
        """Takes the ledger's trials; those that neither ended nor run are queued in order.

        Args:
            asks: whether more trials may be asked for, up to each family's number.
        """
        self._asks = asks
        self._trials: dict[str, dict[int, TrialRow]] = {family.name: {} for family in spec.families}
        self._quota = {family.name: family.trials for family in spec.families}
        self._with_model: dict[str, dict[int, TrialRow]] = {family.name: {} for family in spec.families}
        self._open: dict[str, dict[int, TrialRow]] = {family.name: {} for family in spec.families}
        self._again: deque[TrialRow] = deque()
        self._fresh: deque[TrialRow] = deque()
        self._paused: dict[Key, TrialRow] = {}
        self._newest = 0.0
        for trial in sorted(trials, key=lambda trial: (trial.created_at, trial.number)):
            self._trials.setdefault(trial.family, {})[trial.number] = trial
            self._open.setdefault(trial.family, {})[trial.number] = trial
            self.record_model(trial)
            self._newest = max(self._newest, trial.created_at)
            if trial.state == "waiting":
                self.queue(trial)

    def next_time(self, now: float) -> float:
        """When a trial that is asked for now was created: later than all others, by which whoever takes over
        finds the order of the line, though the clock was set back."""
        return max(now, math.nextafter(self._newest, math.inf))

    def pause(self, trial: TrialRow) -> None:
        """The trial waits at a rung, out of line."""
        self._paused[trial.key] = trial

    def resume(self, trial: TrialRow) -> None:
        """A paused trial gets in line again."""
        self.forget_paused(trial)
        self.queue(trial)

    def forget_paused(self, trial: TrialRow) -> None:
        """The trial waits no longer."""
        del self._paused[trial.key]

    def paused_trials(self, family: str | None = None) -> list[TrialRow]:
        """The trials that wait at a rung, the highest rungs first."""
        found = [trial for trial in self._paused.values() if family in (None, trial.family)]
        return sorted(found, key=lambda trial: (-trial.epochs, trial.number))

    def find(self, family: str, number: int) -> TrialRow | None:
        """The family's trial of that number, if it was asked for."""
        return self._trials[family].get(number)

    def add(self, trial: TrialRow) -> None:
        """A trial that was just asked for; it is not queued."""
        self._newest = max(self._newest, trial.created_at)
        self._trials[trial.family][trial.number] = self._open[trial.family][trial.number] = trial

    def queue(self, trial: TrialRow) -> None:
        """Puts a trial in line: before all fresh ones if it ran before; out of it where it is paused."""
        if is_paused(trial):
            self.pause(trial)
            return
        self._open[trial.family][trial.number] = trial  # a failed one that is tried again was closed
        (self._again if trial.attempts else self._fresh).append(trial)

    def take_waiting(self, fits: Callable[[TrialRow], bool]) -> TrialRow | None:
        """The next trial in line that fits."""
        for line in (self._again, self._fresh):
            for trial in line:
                if fits(trial):
                    line.remove(trial)
                    return trial
        return None

    def has_fresh(self, fits: Callable[[TrialRow], bool]) -> bool:
        """Whether a fresh trial that fits is in line."""
        return any(fits(trial) for trial in self._fresh)

    def set_quota(self, family: str, quota: int) -> None:
        """Sets how many trials a family gets in all."""
        self._quota[family] = quota

    @property
    def trial_counts(self) -> dict[str, int]:
        """How many trials each family has."""
        return {family: len(trials) for family, trials in self._trials.items()}

    def record_model(self, trial: TrialRow) -> None:
        """Takes note that the trial has a kept model, or has none any more."""
        having = self._with_model.setdefault(trial.family, {})
        if trial.model:
            having[trial.number] = trial
        else:
            having.pop(trial.number, None)

    def trials_with_model(self, family: str) -> Sequence[TrialRow]:
        """The family's trials that have a kept model."""
        return list(self._with_model[family].values())

    def all_trials(self) -> list[TrialRow]:
        """All trials."""
        return [trial for trials in self._trials.values() for trial in trials.values()]

    def is_family_broken(self, family: str) -> bool:
        """Whether all of the family's first trials ended in an error of its code."""
        return is_broken(self._trials[family].values())

    def count_to_ask(self, family: str) -> int:
        """How many more trials of the family may be asked for."""
        if not self._asks or self.is_family_broken(family):
            return 0
        return max(0, self._quota[family] - len(self._trials[family]))

    def count_left(self, family: str) -> int:
        """How many trials of the family have not ended, those that may be asked for among them."""
        return self.count_to_ask(family) + len(self.open_trials(family))

    def open_trials(self, family: str) -> list[TrialRow]:
        """Trials of the family that wait or run. Asked some times a second: those that have ended are looked
        at once more and never again."""
        still = {number: trial for number, trial in self._open[family].items() if not trial.has_ended}
        self._open[family] = still
        return list(still.values())

    def all_open_trials(self) -> list[TrialRow]:
        """Trials of all families that wait or run."""
        return [trial for family in self._open for trial in self.open_trials(family)]

    def moving_trials(self, family: str) -> list[TrialRow]:
        """Trials of the family that run or are in line."""
        return [trial for trial in self.open_trials(family) if trial.key not in self._paused]
