"""`velodrome compare`: a leaderboard over the families of one or more sweeps."""

from __future__ import annotations

import csv
import io
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from flows.naming import find
from flows.status import in_file_order
from infra.errors import WrongInput
from infra.home import Home
from infra.ledger import views
from infra.ledger.rows import SweepRow, TrialRow
from infra.ledger.store import Ledger
from infra.ranking import best, costs, finite, undominated
from infra.spec import Objective, SweepSpec

COSTS = ("parameters", "size_bytes", "latency_ms", "train_seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How a metric is spread over several numbers. `best` by the metric's direction; `std` (of a sample)
    is None for one number."""

    count: int
    best: float
    median: float
    mean: float
    std: float | None

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The best trial of one family of one sweep, and how the others of it spread.

    Attributes:
        values: of the best trial, one an objective.
        trials: spread of the first objective over complete trials.
        confirmed: of that configuration's confirmations: the validation metric over fresh seeds.
        tested: the test metric over the same seeds.
        trivial: what always guessing the majority or the mean scores; None where that is not known.
        costs: parameters, size_bytes, latency_ms, train_seconds; None where one was not measured.
        on_front: no other row of the group is at least as good in everything and better in something.
    """

    sweep: str
    family: str
    number: int
    values: tuple[float, ...]
    params: dict[str, Any]
    trials: Spread
    confirmed: Spread | None
    tested: Spread | None
    trivial: float | None
    costs: dict[str, float | None]
    data_fingerprint: str | None
    on_front: bool = False

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        document = {name: getattr(self, name) for name in self.__dataclass_fields__}
        for name in ("trials", "confirmed", "tested"):
            document[name] = document[name].to_json() if document[name] else None
        return {**document, "costs": dict(self.costs)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Rows that are judged by the same objectives, best first. `front_over`: what the front weighs up.
    `note`: why rows may not be comparable; may be empty."""

    objectives: tuple[Objective, ...]
    rows: tuple[Row, ...]
    front_over: tuple[str, ...]
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """The objectives and the rows."""
        return {
            "objectives": [{"metric": goal.metric, "direction": goal.direction} for goal in self.objectives],
            "front_over": list(self.front_over),
            "note": self.note or None,
            "rows": [row.to_json() for row in self.rows],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One group for each set of objectives: values of different metrics are not put in one order.
    `without`: families, as `sweep/family`, that have no complete trial."""

    groups: tuple[Group, ...]
    without: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The groups."""
        return {"groups": [group.to_json() for group in self.groups], "without": list(self.without)}

    def to_csv(self) -> str:
        """One line a row, with a header; parameters as `param.NAME`."""
        return _csv(self.groups)


def compare(*names: str, home: Home | None = None) -> Comparison:
    """The best of each family of the sweeps, side by side.

    Args:
        names: sweeps' names or files, at least one.

    Raises:
        WrongInput: no name, or no such sweep.
    """
    if not names:
        raise WrongInput("compare needs at least one sweep", "none", "velodrome compare digits digits@2")
    place = home or Home.here()
    rows: list[tuple[tuple[Objective, ...], Row]] = []
    without: list[str] = []
    for name in dict.fromkeys(names):
        ledger, row = find(name, place)
        try:
            found, missing = rows_of(ledger, row)
        finally:
            ledger.close()
        rows += [(_judged_by(row.spec), entry) for entry in found]
        without += [f"{row.label}/{family}" for family in missing]
    groups = {goals: [entry for key, entry in rows if key == goals] for goals, _ in rows}
    return Comparison(
        groups=tuple(_group(goals, entries) for goals, entries in groups.items()), without=tuple(without)
    )


def rows_of(ledger: Ledger, row: SweepRow) -> tuple[list[Row], list[str]]:
    """A row for each family of the sweep that has a complete trial, and the names of those that have none."""
    trials = in_file_order(row.spec, views.trials(ledger, row.id, role=None))
    rows: list[Row] = []
    missing: list[str] = []
    for family in row.spec.families:
        mine = [trial for trial in trials if trial.family == family.name]
        winner = best([t for t in mine if t.role == "search"], row.spec.objectives)
        if winner is None:
            missing.append(family.name)
        else:
            rows.append(_row(row, winner, mine))
    return rows, missing


def _row(sweep: SweepRow, winner: TrialRow, trials: Sequence[TrialRow]) -> Row:
    goals = sweep.spec.objectives
    complete = [t for t in trials if t.role == "search" and t.state == "complete"]
    values = [found[0] for t in complete if (found := finite(t, goals)) is not None]
    again = [t for t in trials if _confirms(t, winner)]
    test_metric = "test/" + goals[0].metric.rpartition("/")[2]
    trivial = sweep.facts.get("trivial") or {}
    return Row(
        sweep=sweep.label,
        family=winner.family,
        number=winner.number,
        values=tuple(winner.objective or ()),
        params=winner.params,
        trials=_spread(values, goals[0]) or Spread(count=0, best=0.0, median=0.0, mean=0.0, std=None),
        confirmed=_spread([v[0] for t in again if (v := finite(t, goals)) is not None], goals[0]),
        tested=_spread([t.metrics[test_metric] for t in again if test_metric in t.metrics], goals[0]),
        trivial=trivial.get(goals[0].metric, trivial.get(goals[0].metric.rpartition("/")[2])),
        costs={name: _measured(winner, name) for name in COSTS},
        data_fingerprint=sweep.fingerprint or None,
    )


def _confirms(trial: TrialRow, winner: TrialRow) -> bool:
    """Whether the trial trained the winner's configuration again, on a fresh seed, to its end."""
    origin = trial.origin or {}
    return trial.role == "confirm" and trial.state == "complete" and origin.get("number") == winner.number


def _spread(values: Sequence[float], goal: Objective) -> Spread | None:
    if not values:
        return None
    return Spread(
        count=len(values),
        best=max(values) if goal.direction == "maximize" else min(values),
        median=statistics.median(values),
        mean=statistics.fmean(values),
        std=statistics.stdev(values) if len(values) > 1 else None,
    )


def _measured(trial: TrialRow, name: str) -> float | None:
    for place in (trial.facts, trial.metrics):
        for key in (name, f"val/{name}", f"train/{name}"):
            if isinstance(place.get(key), (int, float)):
                return float(place[key])
    return trial.seconds if name == "train_seconds" and trial.seconds else None


def _judged_by(spec: SweepSpec) -> tuple[Objective, ...]:
    """The objectives without `at`: a best and a last epoch's accuracy stand in one table."""
    return tuple(replace(goal, at="best") for goal in spec.objectives)


def _group(goals: tuple[Objective, ...], rows: list[Row]) -> Group:
    sign = -1.0 if goals[0].direction == "maximize" else 1.0
    ordered = sorted(rows, key=lambda row: sign * row.values[0])
    cost_names = [] if len(goals) > 1 else _known_everywhere(ordered)
    points = [
        [*costs(row.values, goals), *(float(row.costs[name] or 0.0) for name in cost_names)]
        for row in ordered
    ]
    on_front = undominated(points)
    fingerprints = {row.data_fingerprint for row in rows if row.data_fingerprint}
    return Group(
        objectives=goals,
        rows=tuple(replace(row, on_front=keep) for row, keep in zip(ordered, on_front, strict=True)),
        front_over=(*(goal.metric for goal in goals), *cost_names),
        note="these sweeps saw different data: their values can't be put in one order"
        if len(fingerprints) > 1
        else "",
    )


def _known_everywhere(rows: Sequence[Row]) -> list[str]:
    """Costs that the front of a single objective weighs up: those that every row has."""
    return [name for name in ("size_bytes", "latency_ms") if all(row.costs[name] is not None for row in rows)]


def _csv(groups: Sequence[Group]) -> str:
    rows = [_flat(group, row) for group in groups for row in group.rows]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _flat(group: Group, row: Row) -> dict[str, Any]:
    flat: dict[str, Any] = {"sweep": row.sweep, "family": row.family, "number": row.number}
    flat.update(zip((goal.metric for goal in group.objectives), row.values, strict=True))
    for prefix, spread in (("trials", row.trials), ("confirmed", row.confirmed), ("tested", row.tested)):
        for name, value in spread.to_json().items() if spread else ():
            flat[f"{prefix}.{name}"] = value
    flat.update({"trivial": row.trivial, **row.costs, "on_front": row.on_front})
    flat.update({f"param.{name}": value for name, value in row.params.items()})
    return flat
