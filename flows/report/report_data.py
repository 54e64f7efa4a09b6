"""Everything that a report says, gathered from the ledger in one go."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from flows.comparison.compare import compare
from flows.comparison.result import Comparison
from flows.config.lookup import sweep_in_ledger
from flows.report.history import sample_trials
from flows.report.importance import Importances, compute_importances
from flows.report.model_importances import ModelImportances, explain_best_models
from flows.sweeps.views.show import learning_curve
from flows.sweeps.views.states import in_file_order, resolve_state, resolve_trials
from infra.home import Home
from infra.ledger import views
from infra.ledger.rows import SweepRow, TrialRow
from infra.ledger.store import Ledger
from trainers.types import JsonObject

MOST_CURVES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One trial's metric by epoch."""

    trial: TrialRow
    epochs: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """One sweep, ready to be told of.

    Attributes:
        state: as it is; `note`: what a person should know of that.
        trials: of the search, in the order of the file; `confirmations`: of `confirm`.
        endings: the how manieth to end each was, by `TrialRow.key`; their times change with the clock.
        curve_metric: what `curves` are of; empty where nothing was reported by epoch.
        explained: what the best model of each family answers from.
        test_reads: why, and for how many trainings, the test split was read; in order.
    """

    sweep: SweepRow
    state: str
    note: str
    trials: tuple[TrialRow, ...]
    confirmations: tuple[TrialRow, ...]
    endings: Mapping[tuple[str, str, int], int]
    comparison: Comparison
    curve_metric: str
    curves: tuple[Curve, ...]
    importances: tuple[Importances, ...]
    test_reads: tuple[JsonObject, ...]
    explained: tuple[ModelImportances, ...] = ()

    def family_trials(self, family: str) -> list[TrialRow]:
        """One family's trials."""
        return [trial for trial in self.trials if trial.family == family]


def gather_report_data(
    name: str, home: Home, *, latency: bool, say: Callable[[str], None] | None = None
) -> ReportData:
    """All of one sweep."""
    with sweep_in_ledger(name, home) as (ledger, row):
        state, note = resolve_state(row, views.owner(ledger, row.id))
        everything = resolve_trials(views.trials(ledger, row.id, role=None), state)
        trials = in_file_order(row.spec, [t for t in everything if t.role == "search"])
        metric, curves = _sample_curves(ledger, row, trials)
        return ReportData(
            sweep=row, state=state, note=note, trials=tuple(trials),
            confirmations=tuple(t for t in everything if t.role != "search"),
            endings=views.ending_order(ledger, row.id),
            comparison=compare(name, top=_rows_per_family(row), latency=latency, home=home, say=say),
            curve_metric=metric, curves=tuple(curves),
            importances=tuple(compute_importances(row.spec, views.journal_records(ledger, row.id))),
            test_reads=tuple(event.payload for event in views.events_of_kind(ledger, row.id, "test-read")),
            explained=explain_best_models(row, trials, home, say),
        )  # fmt: skip


def _rows_per_family(row: SweepRow) -> int:
    """Trials of each family in the leaderboard: about ten rows in all."""
    return 10 if len(row.spec.objectives) > 1 else max(1, min(5, 10 // max(1, len(row.spec.families))))


def _sample_curves(ledger: Ledger, row: SweepRow, trials: Sequence[TrialRow]) -> tuple[str, list[Curve]]:
    """Learning curves of a sample of the trials, of the first objective that is reported by epoch."""
    goals = row.spec.objectives
    reported = [
        (trial, learning_curve([(e.payload["epoch"], e.payload["metrics"]) for e in events]))
        for trial in sample_trials([t for t in trials if t.epochs], goals, MOST_CURVES)
        if (events := views.trial_events(ledger, row.id, trial, "reported"))
    ]
    names = [goal.metric for goal in goals]
    there = {name for _, points in reported for point in points for name in point.metrics}
    metric = next(
        (name for name in names if name in there), next(iter(sorted(there, key=_validation_first)), "")
    )
    curves = []
    for trial, points in reported:
        kept = [
            (p.epoch, p.metrics[metric]) for p in points if math.isfinite(p.metrics.get(metric, math.nan))
        ]
        if kept:
            epochs, values = zip(*kept, strict=True)
            curves.append(Curve(trial=trial, epochs=epochs, values=values))
    return metric, curves


def _validation_first(name: str) -> tuple[bool, str]:
    return (not name.startswith("val/"), name)
