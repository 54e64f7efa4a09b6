"""Which neighbours of a leaderboard cannot be told apart, and how that is known."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from flows.comparison.records import Row, Tie
from flows.statistics.ranking import RankingEntry, difference_p_value, holm
from infra.spec import Objective

LEVEL = 0.05
MOST_ROWS = 50  # a longer table is a list of trials: Holm's correction would leave nothing to be said


def find_ties(rows: Sequence[Row], goals: Sequence[Objective]) -> tuple[Tie, ...]:
    """One entry for each two neighbours, at 5 % over all of them together (Holm).

    Over the same fresh seeds where both were confirmed (paired t-test); else, for a share of right answers,
    over the validation examples (z-test, cautious, for it takes the two as independent). Nothing is said of
    other metrics without seeds, and of sweeps with several objectives.
    """
    if len(goals) > 1 or not 2 <= len(rows) <= MOST_ROWS:
        return ()

    pairs = list(pairwise(rows))
    found = holm([difference_p_value(*_comparable_pair(one, other)) for one, other in pairs])
    return tuple(
        Tie(
            rows=(place, place + 1),
            tied=None if p is None else p >= LEVEL,
            p=p,
            why=_tie_basis(*pairs[place], p),
        )
        for place, p in enumerate(found)
    )


def _comparable_pair(one: Row, other: Row) -> tuple[RankingEntry, RankingEntry]:
    """Both by their seeds, or both by their examples: what is known of one alone cannot be compared."""
    if _has_seeds(one, other):
        first, second = (
            RankingEntry(values=tuple(row.confirmed_values[i] for i in order), seeds=tuple(order))
            for row in (one, other)
            for order in [sorted(row.confirmed_values)]
        )
        return first, second
    first, second = (
        RankingEntry(values=row.values[:1], standard_error=row.example_error) for row in (one, other)
    )
    return first, second


def _has_seeds(one: Row, other: Row) -> bool:
    return min(len(one.confirmed_values), len(other.confirmed_values)) >= 2


def _tie_basis(one: Row, other: Row, p: float | None) -> str:
    if _has_seeds(one, other):
        shared = len(set(one.confirmed_values) & set(other.confirmed_values))
        return f"{shared} fresh seeds" if p is not None else "too few seeds"
    if p is None:
        return "not confirmed on fresh seeds"
    return f"{one.validation_rows:,} validation examples"
