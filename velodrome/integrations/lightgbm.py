"""LightGBM: rounds are reports. `lightgbm.train(..., callbacks=[velodrome_callback(trial)])`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

try:
    from lightgbm.callback import EarlyStopException
except ImportError as error:
    raise ImportError(
        "velodrome.integrations.lightgbm needs lightgbm: pip install 'velodrome[trees]'"
    ) from error

if TYPE_CHECKING:
    from trainers.functions.trial import Trial


def velodrome_callback(trial: Trial, **metrics: str) -> Callable[[Any], None]:
    """A callback that reports each round's evaluation, and ends the rounds where the trial is to end.

    Args:
        metrics: names of reports by LightGBM's, `accuracy="my_accuracy"`; by default all of the last
            validation set.
    """
    reported = False

    def after_round(env: Any) -> None:
        """As LightGBM calls it."""
        nonlocal reported
        if reported and trial.over():
            raise EarlyStopException(env.iteration, env.evaluation_result_list)
        values = {entry[1]: float(entry[2]) for entry in env.evaluation_result_list or ()}
        named = {name: values[own] for name, own in metrics.items() if own in values}
        if found := named if metrics else values:
            trial.begin_after(env.iteration)  # rounds that come again after an attempt's death were told
            trial.report(found)
            reported = True

    return after_round
