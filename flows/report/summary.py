"""What stands on top: the sweep in a sentence, and the figures that people ask for first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from flows.comparison.records import Row
from flows.report.report_data import ReportData
from flows.report.savings import compute_savings
from flows.terminal.formatting import clock, format_times, number, seconds, trials
from infra.ledger.ranking import best_trial, pareto_front
from infra.secrets import redact


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """The title block."""

    sweep: str
    state: str
    lead: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One figure, with what it means below."""

    title: str
    value: str
    about: str


def page_heading(material: ReportData) -> Heading:
    """The sweep's name, state and purpose."""
    spec = material.sweep.spec
    goals = " and ".join(f"{goal.direction} {goal.metric}" for goal in spec.objectives)
    families = ", ".join(family.name for family in spec.families)
    source = redact(str(spec.data.get("source", "data of its own")))
    goals = goals[:1].upper() + goals[1:]
    lead = f"{goals} on {source}, over {families}; begun {clock(material.sweep.created_at)}."
    return Heading(sweep=material.sweep.label, state=material.state, lead=lead, note=material.note)


def summary_tiles(material: ReportData) -> list[Tile]:
    """Best, trials, time, pruning, test reads."""
    return [
        *_best_tiles(material),
        _trials_tile(material),
        _time_tile(material),
        *_pruning_tiles(material),
        _test_reads_tile(material),
    ]


def _best_tiles(material: ReportData) -> list[Tile]:
    goals = material.sweep.spec.objectives
    winner = best_trial(material.trials, goals)
    if winner is None:
        return [Tile(title="best", value="none", about="no trial was completed")]
    if len(goals) > 1:
        ahead = pareto_front(material.trials, goals)
        names = ", ".join(goal.metric for goal in goals)
        return [Tile(title="Pareto front", value=trials(len(ahead)), about=f"over {names}")]
    row = next((r for r in material.comparison.rows if r.number == winner.number), None)
    trivial = f"; always guessing scores {number(row.trivial)}" if row and row.trivial is not None else ""
    about = f"{winner.family} #{winner.number}{trivial}"
    tiles = [Tile(title=f"best {goals[0].metric}", value=number(winner.value), about=about)]
    return [*tiles, *_confirmed_tiles(material.comparison.rows)]


def _confirmed_tiles(rows: Sequence[Row]) -> list[Tile]:
    """The test score of the configuration that validation ranks first among the confirmed ones."""
    for row in rows:
        if row.confirmed is not None and row.tested is not None:
            off = f" ± {number(row.tested.std, 2)}" if row.tested.std is not None else ""
            about = f"{row.family} #{row.number} on {row.tested.count} fresh seeds{off}"
            return [Tile(title="test score, confirmed", value=number(row.tested.mean), about=about)]
    return []


def _trials_tile(material: ReportData) -> Tile:
    counts = Counter(trial.state for trial in material.trials)
    listed = ", ".join(f"{n} {state}" for state, n in counts.most_common())
    return Tile(title="trials", value=f"{len(material.trials):,}", about=listed or "none yet")


def _time_tile(material: ReportData) -> Tile:
    spent = material.sweep.facts.get("spent") or {}
    elapsed = float(spent.get("elapsed_s") or material.sweep.updated_at - material.sweep.created_at)
    trained = sum(trial.seconds for trial in material.trials)
    gpu = float(spent.get("gpu_s") or 0.0)
    about = f"{seconds(trained)} in trials" + (f", {seconds(gpu)} of a GPU" if gpu else "")
    return Tile(title="time", value=seconds(elapsed), about=about)


def _pruning_tiles(material: ReportData) -> list[Tile]:
    saved = compute_savings(material.sweep.spec, material.trials)
    if not saved.trials:
        return []
    about = f"of all epochs, about {seconds(saved.seconds_saved)} of training"
    return [Tile(title="saved by pruning", value=f"{saved.share:.0%}", about=about)]


def _test_reads_tile(material: ReportData) -> Tile:
    count = len(material.test_reads)
    about = (
        "by confirm and promote; the search never does" if count else "the search never sees the test split"
    )
    return Tile(title="test split read", value="never" if not count else format_times(count), about=about)
