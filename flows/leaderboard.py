"""The leaderboard as people see it: a table, the winners' parameters, and what to type next."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console, RenderableType
from rich.console import Group as Lines
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from flows.compare import Comparison, Group, Row, Spread
from flows.tables import Column, fitted
from flows.wording import count, number, seconds, size


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
    several = len({row.sweep for row in group.rows}) > 1
    parts: list[RenderableType] = [_title(group), _table(group, width)]
    if any(row.on_front for row in group.rows) and len(group.rows) > 1:
        parts.append(Text(f"  * on the Pareto front of {', '.join(group.front_over)}", style="dim"))
    if group.note:
        parts.append(Text(f"  {group.note}", style="yellow"))
    parts += [Text(""), *(_parameters(row, several) for row in group.rows), Text("")]
    return Lines(*parts)


def _title(group: Group) -> Text:
    goals = ", ".join(
        f"{goal.metric} ({'higher' if goal.direction == 'maximize' else 'lower'} is better)"
        for goal in group.objectives
    )
    return Text.assemble("  ", (goals, "bold"))


def _table(group: Group, width: int) -> Table:
    """The winner's numbers in each row; columns that no row fills, or that don't fit, are left out."""
    rows, goals = group.rows, group.objectives
    several = len({row.sweep for row in rows}) > 1
    columns = [Column(heading="sweep", cells=[row.sweep for row in rows], shrinks=True)] if several else []
    columns += [
        Column(heading="family", cells=[row.family for row in rows], shrinks=True),
        Column(heading="trial", cells=[_number(row, len(rows)) for row in rows], right=True),
    ]
    columns += [
        Column(
            heading=goal.metric.removeprefix("val/"),
            cells=[number(row.values[place]) for row in rows],
            right=True,
        )
        for place, goal in enumerate(goals)
    ]
    if any(row.trivial is not None for row in rows):
        columns.append(_column("trivial", rows, lambda row: number(row.trivial), 1))
    if any(row.confirmed for row in rows):
        columns.append(_column("confirmed", rows, lambda row: _mean(row.confirmed), 1))
    if any(row.tested for row in rows):
        columns.append(_column("test", rows, lambda row: _mean(row.tested), 1))
    if len(goals) == 1:
        columns.append(
            _column("median", rows, lambda row: f"{number(row.trials.median)} of {row.trials.count}", 3)
        )
    objectives = {goal.metric for goal in goals}
    return fitted([*columns, *_cost_columns(rows, objectives)], width, bold_rows=frozenset({0}))


def _number(row: Row, of: int) -> str:
    return f"{row.number}{'*' if row.on_front and of > 1 else ' '}"


def _cost_columns(rows: Sequence[Row], objectives: set[str]) -> list[Column]:
    costs: list[tuple[str, str, Callable[[float | None], str], int]] = [
        ("parameters", "weights", count, 4),
        ("size_bytes", "size", size, 5),
        ("latency_ms", "latency", _milliseconds, 2),
        ("train_seconds", "training", seconds, 2),
    ]
    return [
        Column(heading=heading, cells=[said(row.costs[name]) for row in rows], right=True, gives_way=way)
        for name, heading, said, way in costs
        if name not in objectives and any(row.costs.get(name) is not None for row in rows)
    ]


def _column(heading: str, rows: Sequence[Row], cell: Callable[[Row], str], gives_way: int) -> Column:
    return Column(heading=heading, cells=[cell(row) for row in rows], right=True, gives_way=gives_way)


def _mean(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    return number(spread.mean) if spread.std is None else f"{number(spread.mean)} ±{number(spread.std, 2)}"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{number(value, 3)} ms"


def _parameters(row: Row, several: bool) -> RenderableType:
    listed = "  ".join(f"{name}={number(value)}" for name, value in row.params.items())
    whose = f"{row.sweep} {row.family} #{row.number}: " if several else f"{row.family} #{row.number}: "
    return Padding(Text.assemble((whose, "dim"), listed or "no parameters"), (0, 0, 0, 2), expand=False)


def _next_steps(rows: Sequence[Row]) -> RenderableType:
    winner = rows[0]
    steps = (
        (
            f"velodrome show {winner.sweep} --family {winner.family} --trial {winner.number}",
            "the best trial whole",
        ),
        (f"velodrome confirm {winner.sweep}", "train the best again on fresh seeds, and test them"),
        (f"velodrome ui {winner.sweep}", "curves and comparisons in MLflow"),
    )
    table = Table.grid(padding=(0, 2))
    for command, what in steps:
        table.add_row(Text(f"  {command}", style="cyan"), Text(what, style="dim"))
    return Lines(Text("  next:"), table)
