"""How a sweep stands, for its parent run: counts, the best trial of each family, the Pareto front."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from infra.ledger.ranking import pareto_front, rank_trials
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
    ranked = rank_trials(searched, objectives)
    best: dict[str, TrialRow] = {}
    for trial in ranked:
        best.setdefault(trial.family, trial)
    front = ranked[:1] if len(objectives) == 1 else pareto_front(searched, objectives)
    return SweepSummary(states=dict(Counter(t.state for t in searched)), best=best, front=front)
