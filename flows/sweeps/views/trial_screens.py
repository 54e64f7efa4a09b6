"""One trial as people see it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.terminal.formatting import (
    MISSING,
    clock,
    format_fact,
    number,
    params_line,
    printable_text,
    seconds,
)
from flows.terminal.stack_words import describe_share
from flows.terminal.tables import TableColumn, fit_table, grid
from infra.ledger.rows import attempt_seconds

if TYPE_CHECKING:
    from flows.sweeps.views.show import CurvePoint, TrialDetails
    from infra.ledger.rows import AttemptRow
    from infra.spec import Objective

STYLES = {
    "running": "cyan",
    "finished": "green",
    "complete": "green",
    "stopped": "yellow",
    "waiting": "yellow",
    "pruned": "dim",
    "failed": "red",
}
CURVE_ROWS = 20


def print_trial(console: Console, trial: TrialDetails) -> None:
    """One trial whole."""
    head = Text.assemble(
        (f"{trial.sweep}: {trial.family} trial {trial.number}", "bold"), " is ", state_text(trial.state)
    )
    console.print(head)
    table = grid()
    for label, text in _facts(trial):
        table.add_row(label, Text(text))
    console.print(table)
    if trial.curve:
        console.print(Text(""))
        console.print(_curve_table(trial.curve, trial.objectives, trial.epoch, console.width))
    if trial.attempts:
        console.print(Text(""))
        console.print(_attempts_table(trial, console.width))


def _facts(trial: TrialDetails) -> Iterable[tuple[str, str]]:
    if trial.values:
        goals = zip(trial.objectives, trial.values, strict=False)
        kept = f" (epoch {trial.epoch})" if trial.epoch else ""
        yield "value", ", ".join(f"{goal.metric} {number(value, 6)}" for goal, value in goals) + kept
    if trial.reason:
        yield "reason", printable_text(trial.reason)
    yield "parameters", params_line(trial.params) or "none"
    yield "seed", str(trial.seed)
    yield (
        "trained",
        f"{trial.epochs} epochs in {seconds(trial.seconds)}{describe_share(trial.facts)}",
    )
    for label, value in (("asked", trial.asked), ("resources", trial.resources)):
        if value:
            yield label, params_line(value)
    if trial.facts:
        known = {name: value for name, value in trial.facts.items() if name != "stack"}
        numbers = {name: value for name, value in known.items() if isinstance(value, (int, float))}
        yield "measured", "  ".join(f"{name}={format_fact(name, value)}" for name, value in numbers.items())
    if trial.checkpoint_epoch is not None:
        yield "checkpoint", f"epoch {trial.checkpoint_epoch}"
    for label, name in (
        ("model", trial.model),
        ("files", trial.directory),
        ("kept", trial.kept),
        ("MLflow run", trial.mlflow_run_id),
    ):
        if name:
            yield label, name
    for path in trial.logs:
        yield "log", path


def _curve_table(curve: Sequence[CurvePoint], goals: Sequence[Objective], kept: int, width: int) -> Table:
    """The curve by epoch: the objectives first, then as many other metrics as fit; long curves thinned."""
    names = sorted({name for point in curve for name in point.metrics}, key=_metric_order)
    first = [goal.metric for goal in goals if goal.metric in names]
    points = thin_curve(curve, kept)
    columns = [TableColumn("epoch", [str(point.epoch) for point in points], right=True)]
    columns += [
        TableColumn(
            name,
            [number(point.metrics.get(name)) for point in points],
            right=True,
            gives_way=0 if name in first else 1,
        )
        for name in [*first, *(name for name in names if name not in first)]
    ]
    bold = frozenset(place for place, point in enumerate(points) if point.epoch == kept)
    return fit_table(columns, width, bold_rows=bold)


def _metric_order(metric: str) -> tuple[int, str]:
    """What says how good a model is comes before how it was trained, and that before the machine."""
    sections = ("val", "train")
    section = metric.partition("/")[0]
    return (sections.index(section) if section in sections else len(sections), metric)


def thin_curve(curve: Sequence[CurvePoint], kept: int, rows: int = CURVE_ROWS) -> list[CurvePoint]:
    """At most so many points over the whole curve, the first, the last and the kept one among them."""
    if len(curve) <= rows:
        return list(curve)
    chosen = {round(place * (len(curve) - 1) / (rows - 2)) for place in range(rows - 1)}
    return [point for place, point in enumerate(curve) if place in chosen or point.epoch == kept]


def _attempts_table(trial: TrialDetails, width: int) -> Table:
    attempts, took = trial.attempts, attempt_seconds(trial.attempts, trial.seconds)
    return fit_table(
        [
            TableColumn("attempt", [str(attempt.ordinal) for attempt in attempts], right=True),
            TableColumn(
                "host", [str(attempt.lane_facts.get("host", MISSING)) for attempt in attempts], gives_way=2
            ),
            *_gpu_column(attempts),
            TableColumn("lane", [attempt.lane for attempt in attempts], gives_way=3),
            TableColumn("began", [clock(attempt.started_at) for attempt in attempts], gives_way=1),
            TableColumn("took", [MISSING if one is None else seconds(one) for one in took], right=True),
            TableColumn("outcome", [attempt.outcome or "running" for attempt in attempts]),
            TableColumn("detail", [_first_line(attempt.detail) for attempt in attempts], shrinks=True),
        ],
        width,
    )


def _gpu_column(attempts: Sequence[AttemptRow]) -> list[TableColumn]:
    cells = [str(attempt.lane_facts.get("gpu") or "") for attempt in attempts]
    return [TableColumn("GPU", cells, gives_way=2)] if any(cells) else []


def _first_line(text: str | None) -> str:
    return next(iter((text or "").strip().splitlines()), "")


def state_text(state: str) -> Text:
    """A state in its colour."""
    return Text(state, style=STYLES.get(state, ""))
