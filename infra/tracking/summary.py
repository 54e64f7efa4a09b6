"""How a sweep stands, for its parent run: counts, the best trial of each family, the Pareto front."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from infra.ledger.rows import TrialRow
from infra.spec import Objective


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepSummary:
    """`best` is by the first objective; `front` has one entry where there is one objective."""

    states: dict[str, int]
    best: dict[str, TrialRow]
    front: list[TrialRow]

    @property
    def winner(self) -> TrialRow | None:
        """The first of the front."""
        return self.front[0] if self.front else None


def summarize_trials(objectives: Sequence[Objective], trials: Iterable[TrialRow]) -> SweepSummary:
    """How the search's trials stand; confirmations do not count."""
    searched = [trial for trial in trials if trial.role == "search"]
    complete = [t for t in searched if t.state == "complete" and len(t.objective or ()) == len(objectives)]
    complete.sort(key=lambda t: (_signed_values(objectives, t), t.family, -t.number), reverse=True)
    best: dict[str, TrialRow] = {}
    for trial in complete:
        best.setdefault(trial.family, trial)
    front = complete[:1] if len(objectives) == 1 else _pareto_front(objectives, complete)
    return SweepSummary(states=dict(Counter(t.state for t in searched)), best=best, front=front)


def _signed_values(objectives: Sequence[Objective], trial: TrialRow) -> tuple[float, ...]:
    """The trial's values, signed so that larger is better."""
    pairs = zip(objectives, trial.objective or (), strict=True)
    return tuple(value if goal.direction == "maximize" else -value for goal, value in pairs)


def _pareto_front(objectives: Sequence[Objective], ordered: Sequence[TrialRow]) -> list[TrialRow]:
    """Those that no other beats in every goal. In descending order only an earlier one can beat a trial."""
    front: list[TrialRow] = []
    gains: list[tuple[float, ...]] = []
    for trial in ordered:
        own = _signed_values(objectives, trial)
        if not any(all(a >= b for a, b in zip(other, own, strict=True)) for other in gains):
            front.append(trial)
            gains.append(own)
    return front
