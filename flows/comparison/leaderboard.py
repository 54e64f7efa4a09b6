"""The leaderboard as people see it: a table, the winners' parameters, and what to type next."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.console import Console, RenderableType
from rich.console import Group as Lines
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from flows.comparison.groups import HEADINGS, table_cells
from flows.comparison.records import Group, Row, Spread
from flows.comparison.result import Comparison
from flows.terminal.console import print_line
from flows.terminal.formatting import joules, number, params_line, printable_text, seconds, short_count, size
from flows.terminal.next_command import needed_settings
from flows.terminal.tables import TableColumn, fit_table
from infra.spec import Objective


def print_leaderboard(
    console: Console, comparison: Comparison, *, next_steps: bool = True, address: str | None = None
) -> None:
    """Prints each group's table, then the parameters of its rows, then commands to go on with.

    Args:
        address: of the cluster that the sweep ran on.
    """
    for warning in comparison.warnings:
        print_line(console, f"  {printable_text(warning)}", "bold red")
    for place, group in enumerate(comparison.groups):
        letter = f"table {place + 1} of {len(comparison.groups)}: " if comparison.warnings else ""
        console.print(leaderboard(group, console.width, title=letter))
    if comparison.without:
        console.print(Text(f"  no complete trial: {', '.join(comparison.without)}", style="yellow"))
    if next_steps and comparison.rows:
        winner = comparison.rows[0]
        settings = needed_settings(comparison.ledgers.get(winner.sweep))
        console.print(Text("  next:"))
        if settings:  # in one line, to be copied
            print_line(console, f"  export {settings}", "cyan")
        console.print(_next_steps(winner, address))


def leaderboard(group: Group, width: int, *, title: str = "") -> RenderableType:
    """One group as a table that fits the width, with the rows' parameters below."""
    if not group.rows:
        return Text(f"  {title}no row is left", style="yellow")
    several = len({row.sweep for row in group.rows}) > 1
    parts: list[RenderableType] = [_title(group, title), _table(group, width)]
    parts += [Text(f"  {line}", style="dim") for line in remarks(group)]
    if group.note:
        parts.append(Text(f"  {group.note}", style="yellow"))
    parts += [_by_group(group, row, width) for row in group.rows if row.groups]
    parts += [Text(""), *(_parameters(row, several) for row in group.rows), Text("")]
    return Lines(*parts)


def _by_group(group: Group, row: Row, width: int) -> RenderableType:
    """A row's scores by the groups of sensitive columns, on validation."""
    cells = zip(*table_cells(row.groups), strict=True)
    columns = [
        TableColumn(heading, [*map(printable_text, texts)], right=place > 1, gives_way=0)
        for place, (heading, texts) in enumerate(zip(HEADINGS, cells, strict=True))
    ]
    title = Text(f"\n  {short_name(group, row)} by group, on validation", style="bold")
    gaps = [Text(f"  {printable_text(table.describe_gap())}", style="dim") for table in row.groups]
    return Lines(title, fit_table(columns, width), *gaps)


def remarks(group: Group) -> list[str]:
    """What a person should know to read the rows: the order, the front, the errors, who is level."""
    rows, lines = group.rows, list[str]()
    if group.ordered_by == "confirmed":
        lines.append("in the order of the mean over fresh seeds")
    elif group.ordered_by != group.objectives[0].metric:
        lines.append(f"in the order of {printable_text(group.ordered_by)}")
    if len(rows) > 1 and any(row.on_front for row in rows):
        lines.append(f"* on the Pareto front of {', '.join(map(printable_text, group.front_over))}")
    if any(row.error for row in rows):
        over = sorted({f"{row.error.count:,} {OVER[row.error.over]}" for row in rows if row.error})
        lines.append(f"±: one deviation over {', or over '.join(over)}")
    if any(row.latency_from == "measured" for row in rows):
        lines.append("latency: median and p99 of the logged model on this machine, from raw rows to answers")
    return [*lines, *_ties(group)]


OVER = {"seeds": "fresh seeds", "examples": "validation examples"}


def _ties(group: Group) -> list[str]:
    """Who cannot be told apart from the next, and of whom that is not known."""
    lines = []
    level = [tie for tie in group.ties if tie.tied]
    for tie in level:
        one, other = (short_name(group, group.rows[place]) for place in tie.rows)
        lines.append(f"cannot be told apart: {one} and {other} ({tie.why}, p = {number(tie.p, 2)})")
    unknown = [tie for tie in group.ties if tie.tied is None]
    if unknown:
        pairs = "; ".join(
            " and ".join(short_name(group, group.rows[place]) for place in tie.rows) for tie in unknown[:3]
        )
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        lines.append(f"not known whether they differ: {pairs}{more} (`velodrome confirm` finds out)")
    return lines


def short_name(group: Group, row: Row) -> str:
    """What tells a row from the others of its group."""
    several = len({entry.sweep for entry in group.rows}) > 1
    return f"{row.sweep if several else ''} {row.family} #{row.number}".strip()


def _title(group: Group, before: str) -> Text:
    goals = ", ".join(
        f"{goal.metric} ({'higher' if goal.direction == 'maximize' else 'lower'} is better)"
        for goal in group.objectives
    )
    fingerprint = group.rows[0].data_fingerprint or ""
    data = f", data {fingerprint[:12]}" if before and fingerprint else ""
    return Text.assemble("  ", (f"{before}{goals}{data}", "bold"))


def _table(group: Group, width: int) -> Table:
    """The winner's numbers in each row; columns that no row fills, or that don't fit, are left out."""
    return fit_table(display_columns(group), width, bold_rows=frozenset({0}))


def display_columns(group: Group) -> list[TableColumn]:
    """The columns that at least one row fills, in the order of their importance to a reader."""
    rows, goals = group.rows, group.objectives
    several = len({row.sweep for row in rows}) > 1
    columns = [_display_column("sweep", rows, lambda row: row.sweep, right=False)] if several else []
    columns += [
        _display_column("family", rows, lambda row: row.family, right=False),
        _display_column("trial", rows, lambda row: _trial_cell(row, len(rows))),
    ]
    columns += [_goal_column(goal, place, group) for place, goal in enumerate(goals)]
    if any(row.confirmed for row in rows):
        columns.append(_display_column("confirmed", rows, lambda row: _mean_cell(row.confirmed), 1))
    if any(row.tested for row in rows):
        columns.append(_display_column("test", rows, lambda row: _mean_cell(row.tested), 1))
    if any(row.trivial is not None for row in rows):
        columns.append(_display_column("trivial", rows, lambda row: number(row.trivial), 1))
    if len(goals) == 1:
        columns.append(_display_column("median", rows, _median_cell, 4))
    return [*columns, *_cost_columns(rows, {goal.metric for goal in goals})]


def _goal_column(goal: Objective, place: int, group: Group) -> TableColumn:
    def cell(row: Row) -> str:
        off = row.error if place == 0 and row.error and row.error.over == "examples" else None
        return number(row.values[place]) + (f" ±{number(off.std, 2)}" if off else "")

    return _display_column(goal.metric.removeprefix("val/"), group.rows, cell)


def _median_cell(row: Row) -> str:
    return "-" if row.trials is None else f"{number(row.trials.median)} of {row.trials.count}"


def _trial_cell(row: Row, of: int) -> str:
    return f"{row.number}{'*' if row.on_front and of > 1 else ' '}"


def _cost_columns(rows: Sequence[Row], objectives: set[str]) -> list[TableColumn]:
    costs: list[tuple[str, str, Callable[[float | None], str], int]] = [
        ("latency_ms", "latency", _milliseconds, 2),
        ("latency_p99_ms", "p99", _milliseconds, 6),
        ("latency_batch_ms", "batch of 64", _milliseconds, 5),
        ("latency_batch_p99_ms", "its p99", _milliseconds, 8),
        ("parameters", "weights", short_count, 4),
        ("size_bytes", "size", size, 5),
        ("flops", "FLOPs", short_count, 5),
        ("train_flops", "FLOPs of training", short_count, 8),
        ("peak_memory_bytes", "memory", size, 5),
        ("train_seconds", "training", seconds, 2),
        ("gpu_seconds", "GPU time", seconds, 4),
        ("cpu_seconds", "CPU time", seconds, 9),
        ("price", "price", number, 4),
        ("energy_joules", "energy", joules, 4),
        ("epsilon", "epsilon", number, 3),
    ]
    return [
        _display_column(heading, rows, _cost_cell(name, said), way)
        for name, heading, said, way in costs
        if name not in objectives and any(row.costs.get(name) is not None for row in rows)
    ]


def _cost_cell(name: str, said: Callable[[float | None], str]) -> Callable[[Row], str]:
    return lambda row: said(row.costs.get(name))


def _display_column(
    heading: str, rows: Sequence[Row], cell: Callable[[Row], str], gives_way: int = 0, *, right: bool = True
) -> TableColumn:
    cells = tuple(map(cell, rows))
    return TableColumn(heading, cells, right=right, shrinks=not right, gives_way=gives_way)


def _mean_cell(spread: Spread | None) -> str:
    if spread is None:
        return "-"
    return number(spread.mean) if spread.std is None else f"{number(spread.mean)} ±{number(spread.std, 2)}"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{number(value, 3)} ms"


def _parameters(row: Row, several: bool) -> RenderableType:
    listed = params_line(row.params)
    whose = f"{row.sweep} {row.family} #{row.number}: " if several else f"{row.family} #{row.number}: "
    return Padding(Text.assemble((whose, "dim"), listed or "no parameters"), (0, 0, 0, 2), expand=False)


def _next_steps(winner: Row, address: str | None) -> Table:
    on = f" --address {address}" if address else ""
    has_test = winner.data_fingerprint not in (None, "none")  # own code reads data of its own
    tested = ", and test them" if has_test else ""
    steps = (
        (
            f"velodrome show {winner.sweep} --family {winner.family} --trial {winner.number}",
            "the best trial whole",
        ),
        (f"velodrome confirm {winner.sweep}{on}", f"train the best again on fresh seeds{tested}"),
        (f"velodrome ui {winner.sweep}", "curves and comparisons in MLflow"),
    )
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)  # a command in two lines cannot be copied
    for command, what in steps:
        table.add_row(Text(f"  {command}", style="cyan"), Text(what, style="dim"))
    return table
