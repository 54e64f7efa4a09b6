"""The figures on how a search went: history, expected best, curves, where trials ended, front."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

from flows.report.drawing import (
    BAD,
    GREY,
    Figure,
    colour,
    faded,
    label,
    layout,
    rounded,
    said,
    scatter,
    view_of,
)
from flows.report.expected import expected_best, worst_of
from flows.report.history import Ended, history, thinned, value_of
from flows.report.material import Curve, Material
from flows.report.savings import stopped_at
from infra.ledger.ranking import front, undominated
from infra.ledger.rows import TrialRow
from infra.spec import Objective

MOST_POINTS = 3_000
MOST_EPOCHS = 60
MOST_STEPS = 200


def history_figure(material: Material, place: int = 0) -> Figure | None:
    """Each trial's value in the order in which trials ended, and the best so far."""
    goal = material.sweep.spec.objectives[place]
    ended = history(material.trials, goal.direction, place)
    if not ended:
        return None
    improved = [e for e, before in zip(ended[1:], ended, strict=False) if e.best != before.best]
    kept = {e.order: e for e in [*thinned(ended, MOST_POINTS), *improved, ended[0]]}
    points = [kept[order] for order in sorted(kept)]
    pruned = [e for e in points if e.trial.state == "pruned"]
    traces = [_points("pruned", pruned, goal, {"color": GREY, "size": 6, "symbol": "x-thin", "line": {
        "width": 1.5, "color": GREY}})] if pruned else []  # fmt: skip
    for index, family in enumerate(material.sweep.spec.families):
        mine = [e for e in points if e.trial.family == family.name and e.trial.state == "complete"]
        if mine:
            traces.append(_points(label(family.name), mine, goal, {"color": colour(index), "size": 8}))
    traces.append(
        scatter(
            name="best so far",
            x=[e.order for e in points],
            y=rounded(e.best for e in points),
            line={"shape": "hv", "width": 2, "color": faded(BAD, 0.8)},
            hoverinfo="skip",
        )
    )
    return Figure(
        id=f"history-{place}", data=traces, alt=f"{goal.metric} of each trial in the order of their ends",
        layout=layout(
            "trials that have ended", _name(goal), yaxis={"range": view_of([e.value for e in points])}
        ),
    )  # fmt: skip


def _points(
    name: str, points: Sequence[Ended], goal: Objective, marker: dict[str, object]
) -> dict[str, object]:
    return scatter(
        name=name, mode="markers", x=[e.order for e in points], y=rounded(e.value for e in points),
        hovertext=[said(e.trial, e.value, goal.metric) for e in points], marker=marker,
    )  # fmt: skip


def _name(goal: Objective) -> str:
    return goal.metric.removeprefix("val/")


def expected_figure(material: Material) -> Figure | None:
    """Expected best value of so many trials, with one standard deviation, for each family."""
    goal = material.sweep.spec.objectives[0]
    traces: list[dict[str, object]] = []
    means: list[float] = []
    for index, family in enumerate(material.sweep.spec.families):
        values = values_for_expectation(material.of(family.name), goal)
        if len(values) < 2:
            continue
        x = thinned(range(1, len(values) + 1), MOST_STEPS)
        found = expected_best(values, goal.direction, x)
        mean, off = list(found.means), list(found.deviations)
        upper, lower = ([m + s * o for m, o in zip(mean, off, strict=True)] for s in (1, -1))
        means += mean
        group = {"legendgroup": f"f{index}"}
        traces.append(
            scatter(
                x=[*x, *reversed(x)],
                y=rounded([*upper, *reversed(lower)]),
                fill="toself",
                line={"width": 0},
                fillcolor=faded(colour(index), 0.15),
                hoverinfo="skip",
                showlegend=False,
                **group,
            )
        )
        traces.append(
            scatter(
                name=label(family.name),
                x=x,
                y=rounded(mean),
                line={"width": 2.5, "color": colour(index)},
                hovertext=[f"best of {n}: {m:.5g} ± {o:.2g}" for n, m, o in zip(x, mean, off, strict=True)],
                **group,
            )
        )
    if not traces:
        return None
    return Figure(
        id="expected", data=traces, alt="expected best value against the number of trials",
        layout=layout("trials", f"expected best {_name(goal)}", yaxis={"range": _padded(means)}),
    )  # fmt: skip


def _padded(values: Sequence[float]) -> list[float] | None:
    """All of them and some air: the deviations of the first few trials may leave the view."""
    more = 0.12 * (max(values) - min(values))
    return [min(values) - more, max(values) + more] if more else None


def values_for_expectation(trials: Sequence[TrialRow], goal: Objective) -> list[float]:
    """Of every trial that ended: its value, of a pruned one what it reached, of a failed one the worst."""
    values = [value for trial in trials if (value := value_of(trial)) is not None]
    failed = sum(trial.state == "failed" for trial in trials)
    return [*values, *([worst_of(values, goal.direction)] * failed if values else [])]


def curves_figure(material: Material) -> Figure | None:
    """Learning curves: pruned ones grey, complete ones in their family's colour, the best one strong."""
    if not material.curves:
        return None
    metric = material.curve_metric
    traces = []
    pruned = [curve for curve in material.curves if curve.trial.state == "pruned"]
    if pruned:
        traces.append(_lines("pruned", pruned, faded(GREY, 0.45), 1.0, metric))
    for index, family in enumerate(material.sweep.spec.families):
        mine = [c for c in material.curves if c.trial.family == family.name and c.trial.state != "pruned"]
        if mine:
            traces.append(_lines(label(family.name), mine, faded(colour(index), 0.75), 1.4, metric))
    rows = material.comparison.rows
    best = [c for c in material.curves if rows and c.trial.key == ("search", rows[0].family, rows[0].number)]
    traces += [_lines("the best", [c], BAD, 3.0, metric) for c in best]
    values = list(chain.from_iterable(curve.values for curve in material.curves))
    return Figure(
        id="curves", data=traces, alt=f"{metric} by epoch",
        layout=layout("epoch", metric.removeprefix("val/"), yaxis={"range": view_of(values)}),
    )  # fmt: skip


def _lines(
    name: str, curves: Sequence[Curve], line_colour: str, width: float, metric: str
) -> dict[str, object]:
    """Many curves as one trace with gaps: a thousand traces would be slow to draw."""
    x: list[int | None] = []
    y: list[float | None] = []
    text: list[str] = []
    for curve in curves:
        places = thinned(range(len(curve.epochs)), MOST_EPOCHS)
        x += [*(curve.epochs[p] for p in places), None]
        y += [*rounded(curve.values[p] for p in places), None]
        about = f"{label(curve.trial.family)} #{curve.trial.number}, {curve.trial.state}"
        text += [*(f"{about}<br>epoch {curve.epochs[p]}: {curve.values[p]:.5g}" for p in places), ""]
    short = any(len(curve.epochs) == 1 for curve in curves)
    return scatter(
        name=name, x=x, y=y, hovertext=text, mode="lines+markers" if short else "lines",
        line={"color": line_colour, "width": width}, marker={"size": 4}, connectgaps=False,
    )  # fmt: skip


def ends_figure(material: Material) -> Figure | None:
    """How many trials ended after how many epochs; None where nothing was pruned."""
    counts = stopped_at(material.trials)
    if "pruned" not in counts:
        return None
    traces = [
        {
            "type": "bar", "name": state, "x": sorted(counts[state]), "hoverinfo": "x+y+name",
            "y": [counts[state][epoch] for epoch in sorted(counts[state])],
            "marker": {"color": GREY if state == "pruned" else colour(0)},
        }
        for state in ("pruned", "complete")
        if state in counts
    ]  # fmt: skip
    return Figure(
        id="ends", data=traces, alt="trials by the epoch at which they ended", height_px=260,
        layout=layout("epochs trained", "trials", barmode="stack", bargap=0.15),
    )  # fmt: skip


def front_figure(material: Material) -> Figure | None:
    """Complete trials by the first two objectives, those of the front joined by a line."""
    goals = material.sweep.spec.objectives
    if len(goals) < 2:
        return None
    complete = [t for t in material.trials if t.state == "complete" and value_of(t, 1) is not None]
    ahead = {trial.key for trial in front(complete, goals)}
    if not ahead:
        return None
    traces = []
    for name, mine, marker in (
        ("others", [t for t in complete if t.key not in ahead], {"color": GREY, "size": 6}),
        ("Pareto front", [t for t in complete if t.key in ahead], {"color": colour(0), "size": 10}),
    ):
        kept = thinned(mine, MOST_POINTS)
        traces.append(
            scatter(
                name=name,
                mode="markers",
                marker=marker,
                x=rounded((t.objective or [])[1] for t in kept),
                y=rounded((t.objective or [])[0] for t in kept),
                hovertext=[said(t, (t.objective or [])[0], goals[0].metric) for t in kept],
            )
        )
    traces.insert(0, _front_line([t for t in complete if t.key in ahead], goals))
    return Figure(
        id="front", data=traces, alt="the Pareto front of the first two objectives",
        layout=layout(_name(goals[1]), _name(goals[0])),
    )  # fmt: skip


def _front_line(trials: Sequence[TrialRow], goals: Sequence[Objective]) -> dict[str, object]:
    """Along the front of the first two objectives alone (with a third, the front's points lie off it)."""
    signs = [-1.0 if goal.direction == "maximize" else 1.0 for goal in goals[:2]]
    pairs = [(trial.objective or [])[:2] for trial in trials]
    keep = undominated([[s * v for s, v in zip(signs, pair, strict=True)] for pair in pairs])
    kept = sorted((pair for pair, there in zip(pairs, keep, strict=True) if there), key=lambda pair: pair[1])
    return scatter(
        showlegend=False, hoverinfo="skip", x=rounded(pair[1] for pair in kept),
        y=rounded(pair[0] for pair in kept), line={"color": faded(colour(0), 0.5), "width": 1.5},
    )  # fmt: skip
