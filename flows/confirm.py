"""`velodrome confirm`: the best trials again on fresh seeds, ranked by validation, tested once.

The search took the best of many noisy numbers, and that number flatters. Here each candidate is trained on
the same few seeds, which none of them was chosen on; the ranking is by the mean of the validation values,
and the test score stands beside it.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flows.carrying_on import run
from flows.naming import find
from flows.ownership import taken
from flows.status import count_test_reads
from infra.errors import Refused, WrongInput
from infra.home import Home
from infra.ledger import views
from infra.ledger.rows import SweepRow, TrialRow
from infra.ledger.store import Batch, Ledger
from infra.ranking import ranked
from infra.spec import Objective, derived_seed

ROLE = "confirm"
LEVEL = 0.05
MOST_SEEDS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """One number a seed, in the order of the seeds; `std` is the sample's (n − 1), None for one value."""

    values: tuple[float, ...]

    @property
    def mean(self) -> float | None:
        """The values' mean."""
        return statistics.fmean(self.values) if self.values else None

    @property
    def std(self) -> float | None:
        """The values' standard deviation."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    def to_json(self) -> dict[str, Any]:
        """As in the contract."""
        return {"values": list(self.values), "mean": self.mean, "std": self.std}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmedRow:
    """One confirmed trial.

    Attributes:
        tied: whether its validation values can't be told apart from the first row's (paired t-test over the
            seeds, 5 %); None for the first row and where there are too few values.
        failed: confirmations that ended without a value.
    """

    family: str
    number: int
    params: dict[str, Any]
    validation: Scores
    test: Scores
    tied: bool | None = None
    failed: int = 0

    def to_json(self) -> dict[str, Any]:
        """As in the contract, with `tied` and `failed` after it."""
        return {
            "family": self.family,
            "number": self.number,
            "params": self.params,
            "validation": self.validation.to_json(),
            "test": self.test.to_json(),
            "tied": self.tied,
            "failed": self.failed,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """Confirmed trials in the order of their validation mean, best first."""

    sweep: str
    metric: str
    direction: str
    rows: tuple[ConfirmedRow, ...]
    test_reads: int

    def to_json(self) -> dict[str, Any]:
        """As in the contract."""
        return {
            "sweep": self.sweep,
            "metric": self.metric,
            "rows": [row.to_json() for row in self.rows],
            "test_reads": self.test_reads,
        }


def confirm(
    name: str,
    *,
    top: int | None = None,
    each_family: bool = False,
    seeds: int = 5,
    address: str | None = None,
    home: Home | None = None,
) -> Confirmation:
    """Trains the best trials of a sweep again on fresh seeds, ranks them by validation, and tests them.

    What was confirmed before is not trained again: the same call resumes, and more seeds add to it.

    Args:
        name: the sweep's name or its file.
        top: the best so many trials over all families.
        each_family: each family's best instead (the default where neither is given).
        seeds: how many, the same for all candidates.

    Raises:
        WrongInput: no such sweep, nothing to confirm, or the options exclude each other.
        Refused: no confirmation succeeded.
        OwnedElsewhere, ClusterUnavailable, Interrupted: as `sweep`.
    """
    _check_options(top, each_family, seeds)
    place = home or Home.here()
    ledger, row = find(name, place)
    try:
        chosen = _candidates(ledger, row, top)
        _enter(ledger, row, chosen, seeds)
        if any(not trial.ended for trial in views.trials(ledger, row.id, role=ROLE)):
            run(ledger, row, place, address=address, role=ROLE)
        return _result(ledger, row, chosen, seeds)
    finally:
        ledger.close()


def _check_options(top: int | None, each_family: bool, seeds: int) -> None:
    if top is not None and each_family:
        raise WrongInput("confirm takes --top or --each-family", "both", "leave one out")
    if top is not None and top < 1:
        raise WrongInput("--top must be at least 1", str(top))
    if not 1 <= seeds <= MOST_SEEDS:
        raise WrongInput(f"--seeds must be from 1 to {MOST_SEEDS}", str(seeds))


def _candidates(ledger: Ledger, row: SweepRow, top: int | None) -> list[TrialRow]:
    best = ranked(views.trials(ledger, row.id), row.spec.objectives)
    if not best:
        raise WrongInput(
            "a sweep must have complete trials to be confirmed",
            f"none in {row.label}",
            f"`velodrome status {row.label}` tells how its trials ended",
        )
    if top is not None:
        return best[:top]
    first = {trial.family: trial for trial in reversed(best)}
    return [trial for trial in best if first[trial.family] is trial]


def seeds_of(row: SweepRow, count: int) -> list[int]:
    """The fresh seeds of a sweep's confirmations, the same for all candidates; more seeds extend the list."""
    return [derived_seed(row.spec.seed, row.spec.name, ROLE, index) for index in range(count)]


def _origin(trial: TrialRow) -> tuple[str, int, int]:
    origin = trial.origin or {}
    return (trial.family, int(origin.get("number", -1)), int(origin.get("seed_index", -1)))


def _enter(ledger: Ledger, row: SweepRow, chosen: Sequence[TrialRow], seeds: int) -> None:
    """Writes the confirmations that are not there yet, and counts the reading of the test split."""
    known = views.trials(ledger, row.id, role=ROLE)
    there = {_origin(trial) for trial in known}
    count = {family.name: 0 for family in row.spec.families}
    for trial in known:
        count[trial.family] += 1
    now, batch = time.time(), Batch()
    for trial in chosen:
        for index, seed in enumerate(seeds_of(row, seeds)):
            if (trial.family, trial.number, index) in there:
                continue
            fresh = TrialRow(
                role=ROLE,
                family=trial.family,
                number=count[trial.family],
                params=trial.params,
                seed=seed,
                origin={"number": trial.number, "seed_index": index},
                created_at=now + len(batch.events) * 1e-6,
            )
            count[trial.family] += 1
            batch.event("asked", now, {"params": trial.params, "origin": fresh.origin}, fresh)
    if batch.empty:
        return
    if row.fingerprint != "none":  # own code that reads its own data has no test split of ours
        batch.event("test-read", now, {"why": "confirm", "count": len(batch.trials)})
    with taken(ledger, row) as commit:
        commit(batch)


def _result(ledger: Ledger, row: SweepRow, chosen: Sequence[TrialRow], seeds: int) -> Confirmation:
    goal = row.spec.objectives[0]
    name = goal.metric.rpartition("/")[2]
    runs = {_origin(trial): trial for trial in views.trials(ledger, row.id, role=ROLE)}
    rows = []
    for trial in chosen:
        own = [runs[trial.family, trial.number, index] for index in range(seeds)]
        rows.append(_row(trial, own, f"test/{name}"))
    rows = [entry for entry in rows if entry.validation.values]
    if not rows:
        reasons = sorted({str(trial.reason) for trial in runs.values() if trial.reason})
        raise Refused(
            "a confirmation must succeed", "; ".join(reasons) or "none ended", "see `velodrome logs`"
        )
    rows.sort(key=lambda entry: _order(goal, entry))
    return Confirmation(
        sweep=row.label,
        metric=f"test/{name}",
        direction=goal.direction,
        rows=tuple(_with_tie(entry, rows[0]) for entry in rows),
        test_reads=count_test_reads(ledger, row),
    )


def _row(trial: TrialRow, own: Sequence[TrialRow], test_name: str) -> ConfirmedRow:
    done = [entry for entry in own if entry.state == "complete" and entry.value is not None]
    return ConfirmedRow(
        family=trial.family,
        number=trial.number,
        params=trial.params,
        validation=Scores(values=tuple(float(entry.value or 0.0) for entry in done)),
        test=Scores(values=tuple(entry.metrics[test_name] for entry in done if test_name in entry.metrics)),
        failed=len(own) - len(done),
    )


def _order(goal: Objective, entry: ConfirmedRow) -> tuple[float, str, int]:
    mean = entry.validation.mean or 0.0
    return (-mean if goal.direction == "maximize" else mean, entry.family, entry.number)


def _with_tie(entry: ConfirmedRow, first: ConfirmedRow) -> ConfirmedRow:
    from dataclasses import replace

    return replace(
        entry, tied=None if entry is first else tied(first.validation.values, entry.validation.values)
    )


def tied(one: Sequence[float], other: Sequence[float]) -> bool | None:
    """Whether two candidates' values on the same seeds can't be told apart: a paired t-test, two-sided, 5 %.

    None with fewer than two pairs, or where a confirmation failed and the values are no pairs.
    """
    if len(one) != len(other) or len(one) < 2:
        return None
    differences = [a - b for a, b in zip(one, other, strict=True)]
    if max(differences) - min(differences) < 1e-15:  # no spread: the test has no answer, the numbers have
        return abs(differences[0]) < 1e-15
    from scipy import stats

    return bool(stats.ttest_rel(one, other).pvalue >= LEVEL)
