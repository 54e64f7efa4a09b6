"""The figures on how a search went: history, expected best, curves, where trials ended, front."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from flows.report.drawing import (
    BAD,
    GREY,
    PlotlyFigure,
    escape_label,
    fade,
    family_colour,
    figure_layout,
    hover_text,
    round_values,
    scatter_trace,
    view_range,
)
from flows.report.expected_best import expected_best, worst_value
from flows.report.history import HistoryPoint, history_points, objective_value, thin
from flows.report.report_data import Curve, ReportData
from flows.report.savings import count_endings
from infra.ledger.ranking import mark_undominated, pareto_front
from infra.ledger.rows import TrialRow
from infra.spec import Objective
from trainers.types import JsonObject

MOST_POINTS = 3_000
MOST_EPOCHS = 60
MOST_STEPS = 200


def history_figure(material: ReportData, place: int = 0) -> PlotlyFigure | None:
    """Each trial's value in the order in which trials ended, and the best so far."""
    goal = material.sweep.spec.objectives[place]
    ended = history_points(material.trials, goal.direction, place, endings=material.endings)
    if not ended:
        return None
    improved = [e for e, before in zip(ended[1:], ended, strict=False) if e.best != before.best]
    kept = {e.order: e for e in [*thin(ended, MOST_POINTS), *improved, ended[0]]}
    points = [kept[order] for order in sorted(kept)]
    pruned = [e for e in points if e.trial.state == "pruned"]
    traces = [_point_trace("pruned", pruned, goal, {"color": GREY, "size": 6, "symbol": "x-thin", "line": {
        "width": 1.5, "color": GREY}})] if pruned else []  # fmt: skip
    for index, family in enumerate(material.sweep.spec.families):
        mine = [e for e in points if e.trial.family == family.name and e.trial.state == "complete"]
        if mine:
            traces.append(
                _point_trace(
                    escape_label(family.name), mine, goal, {"color": family_colour(index), "size": 8}
                )
            )
    traces.append(
        scatter_trace(
            name="best so far",
            x=[e.order for e in points],
            y=round_values(e.best for e in points),
            line={"shape": "hv", "width": 2, "color": fade(BAD, 0.8)},
            hoverinfo="skip",
        )
    )
    return PlotlyFigure(
        id=f"history-{place}",
        data=traces,
        alt=f"{goal.metric} of each trial in the order of their ends",
        layout=figure_layout(
            "trials that have ended",
            _metric_label(goal),
            yaxis={"range": view_range([e.value for e in points])},
        ),
    )


def _point_trace(
    name: str, points: Sequence[HistoryPoint], goal: Objective, marker: JsonObject
) -> JsonObject:
    return scatter_trace(
        name=name, mode="markers", x=[e.order for e in points], y=round_values(e.value for e in points),
        hovertext=[hover_text(e.trial, e.value, goal.metric) for e in points], marker=marker,
    )  # fmt: skip


def _metric_label(goal: Objective) -> str:
    return goal.metric.removeprefix("val/")


def expected_figure(material: ReportData) -> PlotlyFigure | None:
    """Expected best value of so many trials, with one standard deviation, for each family."""
    goal = material.sweep.spec.objectives[0]
    traces: list[JsonObject] = []
    means: list[float] = []
    for index, family in enumerate(material.sweep.spec.families):
        values = values_for_expectation(material.family_trials(family.name), goal)
        if len(values) < 2:
            continue
        x = thin(range(1, len(values) + 1), MOST_STEPS)
        found = expected_best(values, goal.direction, x)
        mean, off = list(found.means), list(found.deviations)
        means += mean
        traces += _expected_traces(family.name, index, x, mean, off)
    if not traces:
        return None
    return PlotlyFigure(
        id="expected",
        data=traces,
        alt="expected best value against the number of trials",
        layout=figure_layout(
            "trials", f"expected best {_metric_label(goal)}", yaxis={"range": _padded_range(means)}
        ),
    )


def _expected_traces(
    family: str, index: int, x: Sequence[int], mean: list[float], off: list[float]
) -> list[JsonObject]:
    """The band of one standard deviation, and the line in it."""
    upper, lower = ([m + s * o for m, o in zip(mean, off, strict=True)] for s in (1, -1))
    group = {"legendgroup": f"f{index}"}
    band = scatter_trace(
        x=[*x, *reversed(x)],
        y=round_values([*upper, *reversed(lower)]),
        fill="toself",
        line={"width": 0},
        fillcolor=fade(family_colour(index), 0.15),
        hoverinfo="skip",
        showlegend=False,
        **group,
    )
    line = scatter_trace(
        name=escape_label(family),
        x=x,
        y=round_values(mean),
        line={"width": 2.5, "color": family_colour(index)},
        hovertext=[f"best of {n}: {m:.5g} ± {o:.2g}" for n, m, o in zip(x, mean, off, strict=True)],
        **group,
    )
    return [band, line]


def _padded_range(values: Sequence[float]) -> list[float] | None:
    """All of them and some air: the deviations of the first few trials may leave the view."""
    more = 0.12 * (max(values) - min(values))
    return [min(values) - more, max(values) + more] if more else None


def values_for_expectation(trials: Sequence[TrialRow], goal: Objective) -> list[float]:
    """Of every trial that ended: its value, of a pruned one what it reached, of a failed one the worst."""
    values = [value for trial in trials if (value := objective_value(trial)) is not None]
    failed = sum(trial.state == "failed" for trial in trials)
    return [*values, *([worst_value(values, goal.direction)] * failed if values else [])]


def curves_figure(material: ReportData) -> PlotlyFigure | None:
    """Learning curves: pruned ones grey, complete ones in their family's colour, the best one strong."""
    if not material.curves:
        return None
    metric = material.curve_metric
    traces = []
    pruned = [curve for curve in material.curves if curve.trial.state == "pruned"]
    if pruned:
        traces.append(_curve_trace("pruned", pruned, fade(GREY, 0.45), 1.0))
    for index, family in enumerate(material.sweep.spec.families):
        mine = [c for c in material.curves if c.trial.family == family.name and c.trial.state != "pruned"]
        if mine:
            traces.append(
                _curve_trace(escape_label(family.name), mine, fade(family_colour(index), 0.75), 1.4)
            )
    rows = material.comparison.rows
    best = [c for c in material.curves if rows and c.trial.key == ("search", rows[0].family, rows[0].number)]
    traces += [_curve_trace("the best", [c], BAD, 3.0) for c in best]
    values = list(chain.from_iterable(curve.values for curve in material.curves))
    return PlotlyFigure(
        id="curves", data=traces, alt=f"{metric} by epoch",
        layout=figure_layout("epoch", metric.removeprefix("val/"), yaxis={"range": view_range(values)}),
    )  # fmt: skip


def _curve_trace(name: str, curves: Sequence[Curve], line_colour: str, width: float) -> JsonObject:
    """Many curves as one trace with gaps: a thousand traces would be slow to draw."""
    x: list[int | None] = []
    y: list[float | None] = []
    text: list[str] = []
    for curve in curves:
        places = thin(range(len(curve.epochs)), MOST_EPOCHS)
        x += [*(curve.epochs[p] for p in places), None]
        y += [*round_values(curve.values[p] for p in places), None]
        about = f"{escape_label(curve.trial.family)} #{curve.trial.number}, {curve.trial.state}"
        text += [*(f"{about}<br>epoch {curve.epochs[p]}: {curve.values[p]:.5g}" for p in places), ""]
    short = any(len(curve.epochs) == 1 for curve in curves)
    return scatter_trace(
        name=name, x=x, y=y, hovertext=text, mode="lines+markers" if short else "lines",
        line={"color": line_colour, "width": width}, marker={"size": 4}, connectgaps=False,
    )  # fmt: skip


def ends_figure(material: ReportData) -> PlotlyFigure | None:
    """How many trials ended after how many epochs; None where nothing was pruned."""
    counts = count_endings(material.trials)
    if "pruned" not in counts:
        return None
    traces = [
        {
            "type": "bar", "name": state, "x": sorted(counts[state]), "hoverinfo": "x+y+name",
            "y": [counts[state][epoch] for epoch in sorted(counts[state])],
            "marker": {"color": GREY if state == "pruned" else family_colour(0)},
        }
        for state in ("pruned", "complete")
        if state in counts
    ]  # fmt: skip
    return PlotlyFigure(
        id="ends", data=traces, alt="trials by the epoch at which they ended", height_px=260,
        layout=figure_layout("epochs trained", "trials", barmode="stack", bargap=0.15),
    )  # fmt: skip


def front_figure(material: ReportData) -> PlotlyFigure | None:
    """Complete trials by the first two objectives, those of the front joined by a line."""
    goals = material.sweep.spec.objectives
    if len(goals) < 2:
        return None
    complete = [t for t in material.trials if t.state == "complete" and objective_value(t, 1) is not None]
    ahead = {trial.key for trial in pareto_front(complete, goals)}
    if not ahead:
        return None
    traces = []
    for name, on_front, colour, point_px in (
        ("others", False, GREY, 6),
        ("Pareto front", True, family_colour(0), 10),
    ):
        kept = thin([t for t in complete if (t.key in ahead) == on_front], MOST_POINTS)
        traces.append(
            scatter_trace(
                name=name,
                mode="markers",
                marker={"color": colour, "size": point_px},
                x=round_values((t.objective or [])[1] for t in kept),
                y=round_values((t.objective or [])[0] for t in kept),
                hovertext=[hover_text(t, (t.objective or [])[0], goals[0].metric) for t in kept],
            )
        )
    traces.insert(0, _front_line([t for t in complete if t.key in ahead], goals))
    return PlotlyFigure(
        id="front", data=traces, alt="the Pareto front of the first two objectives",
        layout=figure_layout(_metric_label(goals[1]), _metric_label(goals[0])),
    )  # fmt: skip


def _front_line(trials: Sequence[TrialRow], goals: Sequence[Objective]) -> JsonObject:
    """Along the front of the first two objectives alone (with a third, the front's points lie off it)."""
    signs = [-1.0 if goal.direction == "maximize" else 1.0 for goal in goals[:2]]
    pairs = [(trial.objective or [])[:2] for trial in trials]
    keep = mark_undominated([[s * v for s, v in zip(signs, pair, strict=True)] for pair in pairs])
    kept = sorted((pair for pair, there in zip(pairs, keep, strict=True) if there), key=lambda pair: pair[1])
    return scatter_trace(
        showlegend=False, hoverinfo="skip", x=round_values(pair[1] for pair in kept),
        y=round_values(pair[0] for pair in kept), line={"color": fade(family_colour(0), 0.5), "width": 1.5},
    )  # fmt: skip
