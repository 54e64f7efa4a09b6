"""Families, checks, new files, plans and confirmations as people see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.installation.families import swept_words
from flows.sweeps.trial_screens import times
from flows.terminal.formatting import MISSING, count, number, seconds, size
from flows.terminal.tables import Column, fitted

if TYPE_CHECKING:
    from flows.confirmation.result import Confirmation, ConfirmedRow, Scores
    from flows.installation.doctor import Checkup
    from flows.installation.families import Families, FamilyInfo
    from flows.sweeps.new import NewFile
    from flows.sweeps.plan import Plan

VERDICTS = {"ok": "green", "warn": "yellow", "fail": "red"}


def print_families(console: Console, result: Families, *, detailed: bool) -> None:
    """One line a family, or all of one."""
    if detailed:
        for family in result.families:
            _print_family(console, family)
        return
    columns = [
        Column(heading="family", cells=[family.name for family in result.families]),
        Column(heading="reads", cells=[", ".join(family.kinds) for family in result.families]),
        Column(heading="learns", cells=[", ".join(family.tasks) for family in result.families], gives_way=1),
        Column(heading="", cells=[family.summary for family in result.families], shrinks=True),
    ]
    console.print(fitted(columns, console.width))
    console.print(Text("  velodrome families NAME: what can be tuned in it", style="dim"))


def _print_family(console: Console, family: FamilyInfo) -> None:
    console.print(Text.assemble((family.name, "bold"), f": {family.summary}"))
    grid = _grid()
    grid.add_row("reads", ", ".join(family.kinds))
    grid.add_row("learns", ", ".join(family.tasks))
    for name, values in family.presets.items():
        grid.add_row(f"preset {name}", Text(_listed(values)))
    if family.options:
        grid.add_row("options", Text(_listed(family.options)))
    console.print(grid)
    console.print(Text(""))
    tunable = family.hyperparameters
    columns = [
        Column(heading="hyper-parameter", cells=[entry.name for entry in tunable]),
        Column(heading="default", cells=[_value(entry.default) for entry in tunable], right=True),
        Column(
            heading="its own space",
            cells=[Text(swept_words(entry.swept) if entry.swept else "", style="cyan") for entry in tunable],
            shrinks=True,
        ),
        Column(heading="takes", cells=[entry.takes for entry in tunable], gives_way=1),
        Column(heading="", cells=[Text(entry.doc, style="dim") for entry in tunable], gives_way=2),
    ]
    console.print(fitted(columns, console.width))


def print_checkup(console: Console, checkup: Checkup) -> None:
    """One line a check, and what to do below those that are not ok."""
    width = max(len(finding.name) for finding in checkup.findings)
    for finding in checkup.findings:
        line = Text.assemble(
            (f"{finding.verdict:<5}", VERDICTS[finding.verdict]), f"{finding.name:<{width + 2}}"
        )
        console.print(line.append(finding.found), soft_wrap=True)
        if finding.do:
            console.print(Text(f"{'':{width + 7}}{finding.do}", style="yellow"), soft_wrap=True)


def print_look(console: Console, result: NewFile) -> None:
    """What was seen, what was written, and what to type next."""
    from flows.sweeps.new import seen_lines

    for line in seen_lines(result.look):
        console.print(Text(f"  {line}"), soft_wrap=True)
    console.print(Text(""))
    console.print(Text(f"{result.path} is written, with {', '.join(result.families)}"), soft_wrap=True)
    for command in ("plan", "sweep"):
        console.print(Text(f"  velodrome {command} {result.path}", style="cyan"), soft_wrap=True)


def print_plan(console: Console, plan: Plan) -> None:
    """What the sweep will need, and what is worth a thought."""
    goals = ", ".join(f"{goal['direction']} {goal['metric']}" for goal in plan.objectives)
    console.print(Text.assemble((plan.sweep, "bold"), f" can run: {goals}"), soft_wrap=True)
    for line in plan.data:
        console.print(Text(f"  {line}", style="dim"), soft_wrap=True)
    console.print(Text(""))
    families = plan.families
    columns = [
        Column(heading="family", cells=[family.family for family in families], shrinks=True),
        Column(heading="trials", cells=[str(family.trials) for family in families], right=True),
        Column(heading="epochs", cells=[str(family.epochs) for family in families], right=True),
        Column(heading="a trial", cells=[seconds(family.trial_seconds) for family in families], right=True),
        Column(heading="a lane", cells=[family.lane for family in families]),
        Column(
            heading="weights",
            cells=[count(family.parameters) for family in families],
            right=True,
            gives_way=1,
        ),
        Column(
            heading="size", cells=[size(family.size_bytes) for family in families], right=True, gives_way=1
        ),
    ]
    console.print(fitted(columns, console.width))
    grid = _grid()
    done = f", {plan.done} of them done" if plan.done else ""
    grid.add_row("  trials", f"{plan.trials}{done}")
    grid.add_row(
        "  lanes", f"{plan.lanes} on {plan.cpus:g} CPUs and {plan.gpus_used:g} of {plan.gpus:g} GPUs"
    )
    grid.add_row("  time", f"about {seconds(plan.seconds)} if nothing is stopped early")
    grid.add_row("  disk", size(plan.disk_bytes))
    console.print(grid)
    for warning in plan.warnings:
        console.print(Text(f"  warning: {warning}", style="yellow"), soft_wrap=True)


def print_confirmation(console: Console, result: Confirmation) -> None:
    """Candidates by the mean of their validation values, the test score beside it."""
    rows = result.rows
    better = "higher" if result.direction == "maximize" else "lower"
    name = result.metric.rpartition("/")[2]
    console.print(Text.assemble("  ", (f"{name} over fresh seeds ({better} is better)", "bold")))
    columns = [
        Column(heading="family", cells=[row.family for row in rows], shrinks=True),
        Column(heading="trial", cells=[str(row.number) for row in rows], right=True),
        Column(heading="validation", cells=[_spread(row.validation) for row in rows], right=True),
        Column(heading="test", cells=[_spread(row.test) for row in rows], right=True),
        Column(heading="95 % interval", cells=[_interval(row.test) for row in rows], right=True, gives_way=3),
        Column(
            heading="seeds", cells=[str(len(row.validation.values)) for row in rows], right=True, gives_way=2
        ),
        Column(heading="against the first", cells=[_against(row, rows[0]) for row in rows], gives_way=1),
    ]
    console.print(fitted(columns, console.width, bold_rows=frozenset({0})))
    for row in rows:
        console.print(
            Text.assemble((f"  {row.family} #{row.number}: ", "dim"), _listed(row.params)), soft_wrap=True
        )
    if rows[0].test.interval is not None:
        console.print(Text(f"  the test score's interval is over {rows[0].test.over}", style="dim"))
    if result.waiting:
        again = f"{result.waiting} confirmations wait; the same command carries on"
        console.print(Text(f"  {again}", style="yellow"))
    console.print(
        Text(f"  ranked by validation; the test split of {result.sweep} was read {times(result.test_reads)}")
    )


def _spread(scores: Scores) -> str:
    if scores.mean is None:
        return MISSING
    return number(scores.mean) if scores.std is None else f"{number(scores.mean)} ±{number(scores.std, 2)}"


def _interval(scores: Scores) -> str:
    found = scores.interval
    return MISSING if found is None else f"{number(found.low)} … {number(found.high)}"


def _against(row: ConfirmedRow, first: ConfirmedRow) -> str:
    if row is first:
        return ""
    told = {True: "can't be told apart", False: "worse", None: "too few seeds to tell"}[row.tied]
    return f"{told}, {row.failed} failed" if row.failed else told


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    return grid


def _listed(values: dict[str, Any]) -> str:
    return "  ".join(f"{name}={_value(value)}" for name, value in values.items())


def _value(value: Any) -> str:
    return "none" if value is None else number(value)
