"""The leaderboard as people see it: a table, the winners' parameters, and what to type next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group as Lines, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from flows.compare import Comparison, Group, Row, Spread
from flows.wording import count, number, seconds, size

NARROW_COLUMNS = 100


def print_leaderboard(console: Console, comparison: Comparison, *, next_steps: bool = True) -> None:
    """Prints each group's table, then the parameters of its rows, then commands to go on with."""
    for group in comparison.groups:
        console.print(leaderboard(group, console.width))
    if comparison.without:
        console.print(Text(f"  no complete trial: {', '.join(comparison.without)}", style="yellow"))
    rows = [row for group in comparison.groups for row in group.rows]
    if next_steps and rows:
        console.print(_next_steps(rows))


def leaderboard(group: Group, width: int) -> RenderableType:
    """One group as a table that fits the width, with the rows' parameters below."""
    parts: list[RenderableType] = [_title(group), _table(group, width)]
    if any(row.on_front for row in group.rows) and len(group.rows) > 1:
        parts.append(Text(f"  * on the Pareto front of {', '.join(group.front_over)}", style="dim"))
    if group.note:
        parts.append(Text(f"  {group.note}", style="yellow"))
    parts += [Text(""), *(_parameters(row) for row in group.rows), Text("")]
    return Lines(*parts)


def _title(group: Group) -> Text:
    goals = ", ".join(
        f"{goal.metric} ({'higher' if goal.direction == 'maximize' else 'lower'} is better)"
        for goal in group.objectives
    )
    return Text.assemble("  ", (goals, "bold"))


def _table(group: Group, width: int) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=True, show_edge=False)
    several = len({row.sweep for row in group.rows}) > 1
    if several:
        table.add_column("sweep", overflow="fold")
    table.add_column("family", overflow="fold")
    for heading, _ in (columns := _columns(group, width)):
        table.add_column(heading, justify="right", no_wrap=True)
    for place, row in enumerate(group.rows):
        names = [row.sweep, row.family] if several else [row.family]
        cells = [Text(name) for name in names] + [Text(cell(row)) for _, cell in columns]
        table.add_row(*cells, style="bold" if place == 0 else None)
    return table


def _columns(group: Group, width: int) -> list[tuple[str, Any]]:
    """Headings and what stands under them; those that no row fills, or that don't fit, are left out."""
    goals = group.objectives
    columns: list[tuple[str, Any]] = [("trial", lambda row: f"{row.number}{'*' if row.on_front else ' '}")]
    for place, goal in enumerate(goals):
        columns.append((goal.metric.removeprefix("val/"), lambda row, place=place: number(row.values[place])))
    rows = group.rows
    optional: list[tuple[bool, str, Any]] = [
        (any(row.trivial is not None for row in rows), "trivial", lambda row: number(row.trivial)),
        (any(row.confirmed for row in rows), "confirmed", lambda row: _mean(row.confirmed)),
        (any(row.tested for row in rows), "test", lambda row: _mean(row.tested)),
        (len(goals) == 1, "median of", lambda row: f"{number(row.trials.median)} of {row.trials.count}"),
        (_any(rows, "parameters"), "weights", lambda row: count(row.costs["parameters"])),
        (_any(rows, "size_bytes"), "size", lambda row: size(row.costs["size_bytes"])),
        (_any(rows, "latency_ms"), "latency", lambda row: _milliseconds(row.costs["latency_ms"])),
        (_any(rows, "train_seconds"), "training", lambda row: seconds(row.costs["train_seconds"])),
    ]
    kept = [(heading, cell) for there, heading, cell in optional if there]
    if width < NARROW_COLUMNS:
        kept = [entry for entry in kept if entry[0] not in {"size"}]
    return columns + kept


def _any(rows: Sequence[Row], name: str) -> bool:
    return any(row.costs.get(name) is not None for row in rows)


def _mean(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    return number(spread.mean) if spread.std is None else f"{number(spread.mean)} ±{number(spread.std, 2)}"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{number(value, 3)} ms"


def _parameters(row: Row) -> RenderableType:
    listed = "  ".join(f"{name}={number(value)}" for name, value in row.params.items())
    text = Text.assemble((f"{row.family} {row.number}: ", "dim"), listed or "no parameters")
    return Padding(text, (0, 0, 0, 2))


def _next_steps(rows: Sequence[Row]) -> RenderableType:
    winner = rows[0]
    steps = (
        (f"velodrome show {winner.sweep} --family {winner.family} --trial {winner.number}", "the best trial whole"),
        (f"velodrome confirm {winner.sweep}", "train the best again on fresh seeds, and test them"),
        (f"velodrome ui {winner.sweep}", "curves and comparisons in MLflow"),
    )
    table = Table.grid(padding=(0, 2))
    for command, what in steps:
        table.add_row(Text(f"  {command}", style="cyan"), Text(what, style="dim"))
    return Lines(Text("  next:"), table)
