"""From confirmed runs to what can be said: means, intervals, ties. Ranks by validation alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from flows.confirmation.result import Confirmation, ConfirmedRow, Scores, TestDifference
from flows.confirmation.runs import (
    ROLE,
    Candidate,
    ConfirmedRun,
    confirmation_origin,
    confirmed_runs,
    rank_by_validation,
    select_median,
)
from flows.statistics import (
    Interval,
    RankingEntry,
    difference_p_value,
    holm,
    interval_over_seeds,
    two_level_difference,
    two_level_interval,
)
from flows.statistics.scores import Floats
from flows.sweeps.views.states import count_test_reads
from infra.ledger import views
from infra.ledger.rows import SweepRow, TrialRow
from infra.ledger.store import Ledger
from infra.storage.example_scores import read_scores

LEVEL = 0.05
OVER_BOTH, OVER_SEEDS, OVER_EXAMPLES = "seeds and examples", "seeds", "examples of one seed"

_FUNCTION_OF: Mapping[str, tuple[str, Callable[[float], float]]] = {
    "rmse": ("mse", lambda mean: math.sqrt(max(mean, 0.0))),
    "perplexity": ("loss", math.exp),
}
"""Metrics that grow with a mean over examples, and that mean: its interval's ends are carried over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _CandidateRuns:
    """A trial's confirmations: `runs` by seed index, and every test example's score in each of them."""

    trial: TrialRow
    runs: dict[int, ConfirmedRun]
    scores: dict[int, Floats]

    @property
    def key(self) -> Candidate:
        """As `ConfirmedRun.candidate` has it."""
        return (self.trial.family, self.trial.number)


def build_confirmation(
    ledger: Ledger, row: SweepRow, chosen: Sequence[TrialRow], seeds: Sequence[int], storage: Path
) -> Confirmation:
    """What the confirmations of the chosen trials on these seeds say; without rows where none succeeded.

    Args:
        seeds: in the order of their indices.
        storage: the root below which the examples' scores stand.
    """
    goal = row.spec.objectives[0]
    name = goal.metric.rpartition("/")[2]
    ranked = rank_by_validation(confirmed_runs(ledger, row), goal)
    runs = [run for group in ranked for run in group if run.seed_index < len(seeds)]
    candidates = [_candidate_runs(trial, runs, _example_metric(name), storage) for trial in chosen]
    places = {group[0].candidate: place for place, group in enumerate(ranked)}
    usable = [candidate for candidate in candidates if candidate.runs]
    ordered = sorted(usable, key=lambda candidate: places[candidate.key])
    not_ended = [
        confirmation_origin(t)[:2] for t in views.trials(ledger, row.id, role=ROLE) if not t.has_ended
    ]
    different = _different_test_rows(row)
    rows = [_confirmed_row(candidate, name, len(seeds), not_ended, different) for candidate in ordered]
    leads = bool(ordered) and places[ordered[0].key] == 0
    middle = select_median(ranked[0]) if leads else None
    return Confirmation(
        sweep=row.label,
        metric=f"test/{name}",
        direction=goal.direction,
        rows=tuple(_compare_with_first(rows, ordered, seeds, _example_metric(name), different)),
        test_reads=count_test_reads(ledger, row),
        seeds=tuple(seeds),
        median_run=middle.trial.number if middle is not None else None,
        ahead=None if leads or not ordered else ranked[0][0].candidate,
    )


def _different_test_rows(row: SweepRow) -> int | None:
    """How many different rows the test part has; None where a ledger of before does not say."""
    found = (row.facts.get("data") or {}).get("different", {}).get("test")
    return int(found) if found else None


def _example_metric(name: str) -> str:
    return _FUNCTION_OF[name][0] if name in _FUNCTION_OF else name


def _candidate_runs(
    trial: TrialRow, runs: Sequence[ConfirmedRun], metric: str, storage: Path
) -> _CandidateRuns:
    own = {run.seed_index: run for run in runs if run.candidate == (trial.family, trial.number)}
    kept = {index: read_scores(storage, run.trial).get(metric) for index, run in own.items()}
    known = {index: found for index, found in kept.items() if found is not None and np.isfinite(found).all()}
    return _CandidateRuns(trial=trial, runs=own, scores=known)


def _confirmed_row(
    candidate: _CandidateRuns,
    name: str,
    seeds: int,
    not_ended: Sequence[tuple[str, int]],
    different: int | None,
) -> ConfirmedRow:
    trial, runs = candidate.trial, list(candidate.runs.values())
    waiting = not_ended.count((trial.family, trial.number))
    values = tuple(run.value for run in runs)
    return ConfirmedRow(
        family=trial.family,
        number=trial.number,
        params=trial.params,
        validation=Scores(values=values, interval=interval_over_seeds(values), over=OVER_SEEDS),
        test=_test_scores(candidate, name, different),
        failed=max(0, seeds - len(runs) - waiting),
        waiting=waiting,
    )


def _test_scores(candidate: _CandidateRuns, name: str, different: int | None) -> Scores:
    metrics = [run.trial.metrics for run in candidate.runs.values()]
    values = tuple(found[f"test/{name}"] for found in metrics if f"test/{name}" in found)
    if not candidate.scores or len(candidate.scores) < len(values):
        return Scores(values=values, interval=interval_over_seeds(values), over=OVER_SEEDS)
    found = two_level_interval(list(candidate.scores.values()), different=different)
    if name in _FUNCTION_OF:
        found = _transform_interval(found, _FUNCTION_OF[name][1])
    return Scores(values=values, interval=found, over=OVER_BOTH if len(values) > 1 else OVER_EXAMPLES)


def _transform_interval(found: Interval, function: Callable[[float], float]) -> Interval:
    ends = {"estimate": function(found.estimate), "low": function(found.low), "high": function(found.high)}
    return replace(found, p_value=None, **ends)


def _compare_with_first(
    rows: Sequence[ConfirmedRow],
    ordered: Sequence[_CandidateRuns],
    seeds: Sequence[int],
    metric: str,
    different: int | None,
) -> list[ConfirmedRow]:
    """The rows with what sets each apart from the first; several comparisons, so Holm's correction."""
    judged, others = list(rows[:1]), list(rows[1:])
    standings = [_ranking_entry(candidate, seeds) for candidate in ordered]
    ties = holm([difference_p_value(standings[0], other) for other in standings[1:]])
    gaps = [_test_difference(other, ordered[0], different) for other in ordered[1:]]
    gap_ps = holm([gap.p_value if gap is not None else None for gap in gaps])
    for row, p_value, gap, gap_p in zip(others, ties, gaps, gap_ps, strict=True):
        difference = None
        if gap is not None and gap_p is not None:
            difference = TestDifference(metric=metric, interval=gap, p_value=gap_p)
        tied = None if p_value is None else p_value >= LEVEL
        judged.append(replace(row, tied=tied, p_value=p_value, difference=difference))
    return judged


def _ranking_entry(candidate: _CandidateRuns, seeds: Sequence[int]) -> RankingEntry:
    indices = sorted(candidate.runs)
    return RankingEntry(
        values=tuple(candidate.runs[index].value for index in indices),
        seeds=tuple(seeds[index] for index in indices),
    )


def _test_difference(one: _CandidateRuns, first: _CandidateRuns, different: int | None) -> Interval | None:
    """Of the examples' scores on the seeds that both have; None where either kept none."""
    shared = sorted(one.scores.keys() & first.scores.keys())
    pairs = [(one.scores[index], first.scores[index]) for index in shared]
    if not pairs or any(a.shape != b.shape for a, b in pairs):
        return None
    return two_level_difference([a for a, _ in pairs], [b for _, b in pairs], different=different)
