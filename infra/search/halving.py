"""Optuna's successive halving (ASHA), with the values of each rung kept in order instead of looked for."""

from __future__ import annotations

import math
from bisect import insort
from typing import TYPE_CHECKING

from optuna.pruners import BasePruner

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial


class IndexedHalving(BasePruner):
    """Decides what Optuna's `SuccessiveHalvingPruner` decides, and writes what it writes.

    Optuna's own goes through all trials at each decision, some milliseconds when there are thousands. One
    object serves one study, whose trials are changed by this process alone.
    """

    def __init__(self, *, min_epochs: int, reduction: int) -> None:
        """As Optuna's with `min_resource` and `reduction_factor`."""
        self._first_rung, self._reduction = min_epochs, reduction
        self._rungs: dict[int, list[float]] | None = None  # values of all trials that reached it, ascending

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether the trial ends at its newest report."""
        step = trial.last_step
        if step is None:
            return False
        rungs = self._load_rungs(study)
        rung, value = _reached_rung(trial), trial.intermediate_values[step]
        while step >= self._first_rung * self._reduction**rung:
            if math.isnan(value):
                return True
            study._storage.set_trial_system_attr(trial._trial_id, _rung_key(rung), value)
            competing = rungs.setdefault(rung, [])
            insort(competing, value)
            if not _is_promotable(value, competing, self._reduction, study.direction.name):
                return True
            rung += 1
        return False

    def is_among_best(self, study: Study, epoch: int, value: float) -> bool:
        """Whether a trial that waits at a rung with this value goes on, by what has come there until now."""
        rung = 0
        while self._first_rung * self._reduction ** (rung + 1) <= epoch:
            rung += 1
        competing = self._load_rungs(study).get(rung, [])
        return bool(competing) and _is_promotable(value, competing, self._reduction, study.direction.name)

    def _load_rungs(self, study: Study) -> dict[int, list[float]]:
        if self._rungs is None:
            self._rungs = {}
            for trial in study.get_trials(deepcopy=False):
                for rung in range(_reached_rung(trial)):
                    self._rungs.setdefault(rung, []).append(trial.system_attrs[_rung_key(rung)])
            for values in self._rungs.values():
                values.sort()
        return self._rungs


def _rung_key(rung: int) -> str:
    return f"completed_rung_{rung}"  # Optuna's name for it


def _reached_rung(trial: FrozenTrial) -> int:
    rung = 0
    while _rung_key(rung) in trial.system_attrs:
        rung += 1
    return rung


def _is_promotable(value: float, competing: list[float], reduction: int, direction: str) -> bool:
    """Whether the value is among the best `1 / reduction`; the best of the first few is, whatever comes."""
    last = max(len(competing) // reduction - 1, 0)
    if direction == "MAXIMIZE":
        return value >= competing[-(last + 1)]
    return value <= competing[last]
