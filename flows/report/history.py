"""How the search went: values in the order in which trials ended, and the best so far."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from infra.ledger.ranking import rank_trials
from infra.ledger.rows import TrialRow
from infra.spec import Direction, Objective

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPoint:
    """One trial that ended with a value. `order`: its place among all that ended, from 1."""

    order: int
    trial: TrialRow
    value: float
    best: float


def objective_value(trial: TrialRow, place: int = 0) -> float | None:
    """A trial's value of one objective, of what it had reported when it was pruned; None where not finite."""
    values = trial.objective or []
    if trial.state not in ("complete", "pruned") or place >= len(values) or not math.isfinite(values[place]):
        return None
    return values[place]


def history_points(
    trials: Sequence[TrialRow],
    direction: Direction,
    place: int = 0,
    *,
    endings: Mapping[tuple[str, str, int], int],
) -> list[HistoryPoint]:
    """Trials with a value in the order in which they ended; `best` is that of the complete ones so far.

    Before the first complete trial `best` is not a number.

    Args:
        endings: the how manieth to end each was, by `TrialRow.key`.
    """
    ended = [trial for trial in trials if trial.has_ended]
    ended.sort(key=lambda trial: (endings.get(trial.key, 0), trial.family, trial.number))
    better = max if direction == "maximize" else min
    found, best = [], math.nan
    for order, trial in enumerate(ended, 1):
        value = objective_value(trial, place)
        if value is None:
            continue
        if trial.state == "complete":
            best = value if math.isnan(best) else better(best, value)
        found.append(HistoryPoint(order=order, trial=trial, value=value, best=best))
    return found


def thin(items: Sequence[T], most: int) -> list[T]:
    """At most so many, evenly over the whole, first and last among them."""
    if len(items) <= most:
        return list(items)
    step = (len(items) - 1) / (most - 1)
    return [items[round(index * step)] for index in range(most)]


def sample_trials(
    trials: Sequence[TrialRow], goals: Sequence[Objective], most: int, best: int = 20
) -> list[TrialRow]:
    """At most so many trials: the best ones, and others evenly over the sweep; in the order given."""
    if len(trials) <= most:
        return list(trials)
    chosen = {trial.key for trial in rank_trials(trials, goals)[:best]}
    others = [trial for trial in trials if trial.key not in chosen]
    chosen |= {trial.key for trial in thin(others, most - len(chosen))}
    return [trial for trial in trials if trial.key in chosen]
