"""Which trial is better: by one objective, or by several, where a front takes the place of a best."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from infra.ledger.rows import PARAMETERS, TrialRow
from infra.spec import Objective


def finite_values(trial: TrialRow, objectives: Sequence[Objective]) -> tuple[float, ...] | None:
    """The trial's values, one a goal; None where one is missing or not a finite number."""
    values = trial.objective or []
    if len(values) != len(objectives) or not all(math.isfinite(value) for value in values):
        return None
    return tuple(values)


def objective_costs(values: Sequence[float], objectives: Sequence[Objective]) -> tuple[float, ...]:
    """The values with their signs turned so that less is better in each."""
    return tuple(
        -value if objective.direction == "maximize" else value
        for value, objective in zip(values, objectives, strict=True)
    )


def model_size(trial: TrialRow) -> float:
    """How many weights the trial's model has; infinite where that is not known.

    Equal values say nothing of which model is better, so the smaller one is taken. Seconds would tell the
    cheaper one too, but not twice the same.
    """
    size = trial.facts.get(PARAMETERS)
    return float(size) if isinstance(size, (int, float)) else math.inf


def rank_trials(trials: Iterable[TrialRow], objectives: Sequence[Objective]) -> list[TrialRow]:
    """Complete trials, best first by the first objective, whoever asks.

    Of equal ones the family with the smaller model comes first, then the name decides; within a family the
    number does, for the first that reaches a value is the one that is kept.
    """
    usable = [(finite_values(trial, objectives), trial) for trial in trials if trial.state == "complete"]
    keyed = [
        (objective_costs(values, objectives)[0], trial) for values, trial in usable if values is not None
    ]
    keyed.sort(key=lambda pair: (pair[0], pair[1].family, pair[1].number))
    sizes: dict[tuple[float, str], float] = {}
    for cost, trial in keyed:
        sizes.setdefault((cost, trial.family), model_size(trial))
    keyed.sort(key=lambda pair: (pair[0], sizes[pair[0], pair[1].family]))
    return [trial for _, trial in keyed]


def best_trial(trials: Iterable[TrialRow], objectives: Sequence[Objective]) -> TrialRow | None:
    """The best complete trial by the first objective, or None."""
    return next(iter(rank_trials(trials, objectives)), None)


def pareto_front(trials: Iterable[TrialRow], objectives: Sequence[Objective]) -> list[TrialRow]:
    """Complete trials that no other one beats in every objective, best by the first of them first."""
    candidates = rank_trials(trials, objectives)
    kept = mark_undominated(
        [objective_costs(finite_values(trial, objectives) or (), objectives) for trial in candidates]
    )
    return [trial for trial, keep in zip(candidates, kept, strict=True) if keep]


def mark_undominated(points: Sequence[Sequence[float]]) -> list[bool]:
    """For each point (less is better in each coordinate) whether no other is at least as good in all
    coordinates and better in one.

    In lexicographic order only an earlier point can dominate a later one, and then one of the front does: as
    many comparisons as points times front, not points squared.
    """
    kept = [False] * len(points)
    front: list[Sequence[float]] = []
    for place in sorted(range(len(points)), key=lambda place: tuple(points[place])):
        if not any(_dominates(other, points[place]) for other in reversed(front)):
            kept[place] = True
            if not front or tuple(front[-1]) != tuple(points[place]):
                front.append(points[place])
    return kept


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and tuple(one) != tuple(other)
