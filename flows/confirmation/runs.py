"""The confirmed runs of a sweep as its ledger has them: by candidate and seed, and the one for them all.

`promote` takes `median_run(ledger, sweep)`; its model's bundle is `run.trial.model` below the storage root.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from infra.ledger import views
from infra.ledger.ranking import model_size, objective_costs
from infra.ledger.rows import SweepRow, TrialRow
from infra.ledger.store import Ledger
from infra.spec import Objective

ROLE = "confirm"

Candidate = tuple[str, int]  # family, and number among the search's trials


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmedRun:
    """One complete confirmation.

    Attributes:
        family, number: the search's trial whose configuration it trained again.
        seed_index: which of the sweep's fresh seeds, the same for every candidate.
        value: the first objective on the validation split.
        trial: its own row (`trial.number` counts among the family's confirmations, `trial.seed` is the seed,
            `trial.model` the kept bundle below the storage root, `trial.metrics` the test scores too).
    """

    family: str
    number: int
    seed_index: int
    value: float
    trial: TrialRow

    @property
    def candidate(self) -> Candidate:
        """What identifies the configuration."""
        return (self.family, self.number)


def confirmation_origin(trial: TrialRow) -> tuple[str, int, int]:
    """Of a confirmation: family and number of the search's trial, and which fresh seed."""
    origin = trial.origin or {}
    return (trial.family, int(origin.get("number", -1)), int(origin.get("seed_index", -1)))


def confirmed_runs(ledger: Ledger, sweep: SweepRow) -> list[ConfirmedRun]:
    """All complete confirmations of a sweep, by family, number and seed."""
    found = []
    for trial in views.trials(ledger, sweep.id, role=ROLE):
        family, number, index = confirmation_origin(trial)
        if trial.state == "complete" and trial.value is not None:
            found.append(
                ConfirmedRun(family=family, number=number, seed_index=index, value=trial.value, trial=trial)
            )
    return sorted(found, key=lambda run: (run.family, run.number, run.seed_index))


def rank_by_validation(runs: Sequence[ConfirmedRun], goal: Objective) -> list[list[ConfirmedRun]]:
    """The runs of each candidate, best candidate first by the mean of its validation values; of equal ones
    first the one with the smaller model, then by family and number.

    Candidates are compared over the seeds that all of them have, so that one that was given more seeds by a
    later `confirm` is not compared by luck; where there are none in common, over their own.
    """
    groups: dict[Candidate, list[ConfirmedRun]] = {}
    for run in runs:
        groups.setdefault(run.candidate, []).append(run)
    shared = (
        set.intersection(*({run.seed_index for run in group} for group in groups.values()))
        if groups
        else set()
    )

    def cost(group: list[ConfirmedRun]) -> tuple[float, float, Candidate]:
        values = [run.value for run in group if not shared or run.seed_index in shared]
        mean = objective_costs([statistics.fmean(values)], [goal])[0]
        return (mean, model_size(group[0].trial), group[0].candidate)

    return sorted(groups.values(), key=cost)


def select_median(runs: Sequence[ConfirmedRun]) -> ConfirmedRun | None:
    """Of one candidate's runs with a kept model the one with the median validation value: of an even number
    the lower of the two in the middle, of equal ones the earlier seed's."""
    ordered = sorted((run for run in runs if run.trial.model), key=lambda run: (run.value, run.seed_index))
    return ordered[(len(ordered) - 1) // 2] if ordered else None


def median_run(
    ledger: Ledger, sweep: SweepRow, *, family: str | None = None, number: int | None = None
) -> ConfirmedRun | None:
    """The run that a promotion takes: of the best candidate by the mean of its validation values, the one
    with the median validation value.

    Args:
        family: only candidates of this family.
        number: only the search's trial of this number.

    Returns:
        None where nothing was confirmed, or the best candidate kept no model.
    """
    runs = [
        run
        for run in confirmed_runs(ledger, sweep)
        if family in (None, run.family) and number in (None, run.number)
    ]
    ordered = rank_by_validation(runs, sweep.spec.objectives[0])
    return select_median(ordered[0]) if ordered else None
