"""XGBoost: rounds are reports. `xgboost.train(..., callbacks=[VelodromeCallback(trial)])`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

try:
    from xgboost.callback import TrainingCallback
except ImportError as error:
    raise ImportError(
        "velodrome.integrations.xgboost needs xgboost: pip install 'velodrome[xgboost]'"
    ) from error

if TYPE_CHECKING:
    from trainers.functions.trial import Trial


class VelodromeCallback(TrainingCallback):  # type: ignore[misc]
    """Reports each round's evaluation of the last set, and ends the rounds where the trial is to end."""

    def __init__(self, trial: Trial, **metrics: str) -> None:
        """For one trial.

        Args:
            metrics: names of reports by XGBoost's, `loss="logloss"`; by default all of the last set.
        """
        super().__init__()
        self._trial, self._names, self._reported = trial, metrics, False

    def after_iteration(
        self, model: Any, epoch: int, evals_log: Mapping[str, Mapping[str, Sequence[float]]]
    ) -> bool:
        """True: no more rounds."""
        if self._reported and self._trial.over():
            return True
        last = list(evals_log.values())[-1] if evals_log else {}
        names = self._names or {name: name for name in last}
        if found := {name: float(last[own][-1]) for name, own in names.items() if own in last}:
            self._trial.begin_after(model.num_boosted_rounds() - 1)  # rounds that come again were told
            self._trial.report(found)
            self._reported = True
        return False
