"""The figures on the search space: parallel coordinates, importances, learning rates, and confirmations."""

from __future__ import annotations

import math
from collections.abc import Sequence

from flows.comparison.records import Row
from flows.report.axes import Axis, is_log, parameter_axes
from flows.report.drawing import (
    GREY,
    PlotlyFigure,
    escape_label,
    family_colour,
    figure_layout,
    hover_text,
    round_values,
    scatter_trace,
    view_range,
)
from flows.report.history import objective_value, sample_trials
from flows.report.importance import Importances
from flows.report.report_data import ReportData
from flows.terminal.formatting import number
from infra.ledger.rows import TrialRow
from infra.spec import FamilySpec, Objective
from trainers.types import JsonObject

MOST_LINES = 1_000
MOST_AXES = 11
AXIS_PX = 82
RATE, OPTIMIZER = "learning_rate", "optimizer"


def parallel_figure(material: ReportData, index: int) -> PlotlyFigure | None:
    """One line a trial through all parameters of a family, coloured by the first objective."""
    family, goals = material.sweep.spec.families[index], material.sweep.spec.objectives
    valued = [t for t in material.family_trials(family.name) if objective_value(t) is not None]
    trials = sample_trials(valued, goals, MOST_LINES)
    axes = parameter_axes(family, trials)
    if len(trials) < 2 or not axes:
        return None
    axes = _rank_axes(axes, material.importances, family)[:MOST_AXES]
    values = [objective_value(trial) or 0.0 for trial in trials]
    better_up = goals[0].direction == "maximize"
    view = view_range(values) or [min(values), max(values)]
    shown = [min(max(value, view[0]), view[1]) for value in values]
    dimensions = [_dimension(axis) for axis in axes]
    dimensions.append(
        {
            "label": f"<b>{escape_label(goals[0].metric.removeprefix('val/'), 22)}</b>",
            "values": round_values(shown),
        }
    )
    line: JsonObject = {
        "color": round_values(shown),
        "colorscale": [[0, GREY], [0.5, family_colour(0)], [1, family_colour(1)]],
        "reversescale": not better_up,
        "cmin": view[0],
        "cmax": view[1],
    }
    trace: JsonObject = {
        "type": "parcoords", "line": line, "dimensions": dimensions, "labelangle": -20, "labelside": "top",
    }  # fmt: skip
    return PlotlyFigure(
        id=f"parallel-{index}", title=family.name, data=[trace], height_px=400,
        min_width_px=AXIS_PX * len(dimensions) + 80,
        layout={"margin": {"l": 60, "r": 60, "t": 84, "b": 24}},
        alt=f"parallel coordinates of {family.name}",
    )  # fmt: skip


def _dimension(axis: Axis) -> JsonObject:
    low, high = min([*axis.values, *axis.ticks]), max([*axis.values, *axis.ticks])
    return {
        "label": escape_label(axis.name, 22), "values": round_values(axis.values, 6), "range": [low, high],
        "tickvals": list(axis.ticks), "ticktext": [escape_label(text, 20) for text in axis.labels],
    }  # fmt: skip


def _rank_axes(axes: list[Axis], found: Sequence[Importances], family: FamilySpec) -> list[Axis]:
    """Axes in the order of their importance, so that those beyond `MOST_AXES` are the least missed."""
    shares = next((entry.shares for entry in found if entry.family == family.name), {})
    return sorted(axes, key=lambda axis: -shares.get(axis.name, 0.0))


def importance_figure(found: Importances, index: int, *, several: bool) -> PlotlyFigure | None:
    """Bars, the most important at the top."""
    if not found.shares:
        return None
    shares = sorted(found.shares.items(), key=lambda entry: entry[1])[-15:]
    trace: JsonObject = {
        "type": "bar", "orientation": "h", "x": round_values(share for _, share in shares),
        "y": [escape_label(name, 30) for name, _ in shares], "hoverinfo": "x",
        "text": [f"{share:.0%}" for _, share in shares], "textposition": "auto",
        "marker": {"color": family_colour(index)},
    }  # fmt: skip
    title = f"{found.family}, {found.metric}" if several else found.family
    return PlotlyFigure(
        id=f"importance-{index}",
        title=title,
        data=[trace],
        height_px=80 + 24 * len(shares),
        layout=figure_layout(
            "share", "", xaxis={"tickformat": ".0%", "rangemode": "tozero"}, showlegend=False
        ),
        alt=f"importances of the parameters of {title}",
    )


def slice_figure(material: ReportData, index: int) -> PlotlyFigure | None:
    """The first objective by learning rate, a colour for each optimizer; pruned trials small and faint."""
    family, goal = material.sweep.spec.families[index], material.sweep.spec.objectives[0]
    trials = [
        t
        for t in sample_trials(
            [t for t in material.family_trials(family.name) if objective_value(t) is not None], (goal,), 1_500
        )
        if isinstance(t.params.get(RATE), (int, float))
    ]
    if len({t.params[RATE] for t in trials}) < 2:
        return None
    names = sorted({str(t.params.get(OPTIMIZER, "")) for t in trials})
    traces = [
        _slice_trace(
            name, [t for t in trials if str(t.params.get(OPTIMIZER, "")) == name], family_colour(place), goal
        )
        for place, name in enumerate(names)
    ]
    entry: JsonObject = next((e for e in family.space.get("parameters", ()) if e["name"] == RATE), {})
    log = is_log(entry) and all(t.params[RATE] > 0 for t in trials)
    axis: JsonObject = {"type": "log", "dtick": 1, "exponentformat": "power"} if log else {}
    values = [objective_value(t) or 0.0 for t in trials]
    return PlotlyFigure(
        id=f"slice-{index}", title=family.name, data=traces, alt=f"learning rates of {family.name}",
        layout=figure_layout(
            "learning rate", goal.metric.removeprefix("val/"), xaxis=axis, yaxis={"range": view_range(values)}
        ),
    )  # fmt: skip


def _slice_trace(name: str, trials: Sequence[TrialRow], its_colour: str, goal: Objective) -> JsonObject:
    complete = [trial.state == "complete" for trial in trials]
    return scatter_trace(
        name=escape_label(name or "trials"),
        mode="markers",
        x=round_values(float(t.params[RATE]) for t in trials),
        y=round_values(objective_value(t) or 0.0 for t in trials),
        hovertext=[hover_text(t, objective_value(t) or math.nan, goal.metric) for t in trials],
        marker={
            "color": its_colour,
            "size": [9 if done else 6 for done in complete],
            "opacity": [0.95 if done else 0.5 for done in complete],
        },
    )


def confirmed_figure(material: ReportData) -> PlotlyFigure | None:
    """Validation and test values over fresh seeds, a line for each configuration, best at the top."""
    rows = [row for group in material.comparison.groups for row in group.rows if row.confirmed][:12]
    if not rows:
        return None
    names = {id(row): f"{escape_label(row.family, 30)} #{row.number}" for row in rows}
    traces = [
        _seed_trace(
            "validation", family_colour(0), "circle", [(names[id(r)], _validation_values(r)) for r in rows]
        )
    ]
    tested = [(names[id(row)], _test_values(row, material)) for row in rows]
    if any(values for _, values in tested):
        traces.append(_seed_trace("test", family_colour(1), "diamond", tested))
    goal = material.sweep.spec.objectives[0]
    return PlotlyFigure(
        id="confirmed", data=traces, height_px=120 + 44 * len(rows),
        layout=figure_layout(goal.metric.rpartition("/")[2], "", yaxis={"autorange": "reversed"}),
        alt="values over fresh seeds",
    )  # fmt: skip


def _validation_values(row: Row) -> list[float]:
    return [row.confirmed_values[index] for index in sorted(row.confirmed_values)]


def _test_values(row: Row, material: ReportData) -> list[float]:
    name = "test/" + material.sweep.spec.objectives[0].metric.rpartition("/")[2]
    return [
        t.metrics[name]
        for t in material.confirmations
        if t.family == row.family and (t.origin or {}).get("number") == row.number and name in t.metrics
    ]


def _seed_trace(
    name: str, its_colour: str, symbol: str, rows: Sequence[tuple[str, list[float]]]
) -> JsonObject:
    pairs = [(where, value) for where, values in rows for value in values]
    return scatter_trace(
        name=name,
        mode="markers",
        x=round_values(value for _, value in pairs),
        y=[where for where, _ in pairs],
        hovertext=[f"{where}<br>{name} {number(value, 5)}" for where, value in pairs],
        marker={"color": its_colour, "size": 10, "symbol": symbol, "opacity": 0.75},
    )
