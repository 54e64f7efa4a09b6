"""What stands on top: the sweep in a sentence, and the figures that people ask for first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from flows.comparison.records import Row
from flows.report.material import Material
from flows.report.savings import savings_of
from flows.sweeps.trial_screens import times
from flows.terminal.formatting import clock, number, seconds, trials
from infra.ledger.ranking import best, front
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


def heading(material: Material) -> Heading:
    """The sweep's name, state and purpose."""
    spec = material.sweep.spec
    goals = " and ".join(f"{goal.direction} {goal.metric}" for goal in spec.objectives)
    families = ", ".join(family.name for family in spec.families)
    source = redact(str(spec.data.get("source", "data of its own")))
    lead = f"{goals.capitalize()} on {source}, over {families}; begun {clock(material.sweep.created_at)}."
    return Heading(sweep=material.sweep.label, state=material.state, lead=lead, note=material.note)


def tiles_of(material: Material) -> list[Tile]:
    """Best, trials, time, pruning, test reads."""
    return [
        *_best(material), _trials(material), _time(material), *_pruning(material), _test(material)
    ]  # fmt: skip


def _best(material: Material) -> list[Tile]:
    goals = material.sweep.spec.objectives
    winner = best(material.trials, goals)
    if winner is None:
        return [Tile(title="best", value="none", about="no trial was completed")]
    if len(goals) > 1:
        ahead = front(material.trials, goals)
        names = ", ".join(goal.metric for goal in goals)
        return [Tile(title="Pareto front", value=trials(len(ahead)), about=f"over {names}")]
    row = next((r for r in material.comparison.rows if r.number == winner.number), None)
    trivial = f"; always guessing scores {number(row.trivial)}" if row and row.trivial is not None else ""
    about = f"{winner.family} #{winner.number}{trivial}"
    tiles = [Tile(title=f"best {goals[0].metric}", value=number(winner.value), about=about)]
    return [*tiles, *_confirmed(material.comparison.rows)]


def _confirmed(rows: Sequence[Row]) -> list[Tile]:
    """The test score of the configuration that validation ranks first among the confirmed ones."""
    for row in rows:
        if row.confirmed is not None and row.tested is not None:
            off = f" ± {number(row.tested.std, 2)}" if row.tested.std is not None else ""
            about = f"{row.family} #{row.number} on {row.tested.count} fresh seeds{off}"
            return [Tile(title="test score, confirmed", value=number(row.tested.mean), about=about)]
    return []


def _trials(material: Material) -> Tile:
    counts = Counter(trial.state for trial in material.trials)
    listed = ", ".join(f"{n} {state}" for state, n in counts.most_common())
    return Tile(title="trials", value=f"{len(material.trials):,}", about=listed or "none yet")


def _time(material: Material) -> Tile:
    spent = material.sweep.facts.get("spent") or {}
    elapsed = float(spent.get("elapsed_s") or material.sweep.updated_at - material.sweep.created_at)
    trained = sum(trial.seconds for trial in material.trials)
    gpu = float(spent.get("gpu_s") or 0.0)
    about = f"{seconds(trained)} in trials" + (f", {seconds(gpu)} of a GPU" if gpu else "")
    return Tile(title="time", value=seconds(elapsed), about=about)


def _pruning(material: Material) -> list[Tile]:
    saved = savings_of(material.sweep.spec, material.trials)
    if not saved.trials:
        return []
    about = f"of all epochs, about {seconds(saved.seconds_saved)} of training"
    return [Tile(title="saved by pruning", value=f"{saved.share:.0%}", about=about)]


def _test(material: Material) -> Tile:
    count = len(material.test_reads)
    about = (
        "by confirm and promote; the search never does" if count else "the search never sees the test split"
    )
    return Tile(title="test split read", value="never" if not count else times(count), about=about)
