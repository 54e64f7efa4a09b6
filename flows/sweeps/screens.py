"""Families, checks, new files, plans and confirmations as people see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from flows.terminal.formatting import seconds, short_count, size
from flows.terminal.tables import TableColumn, fit_table, grid

if TYPE_CHECKING:
    from flows.sweeps.new import NewFile
    from flows.sweeps.plan import FamilyPlan, Plan


def print_new_file(console: Console, result: NewFile) -> None:
    """What was seen, what was written, and what to type next."""
    from flows.config.writing.sweep_text import profile_lines

    for line in profile_lines(result.look) if result.look is not None else ():
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
    console.print(fit_table(_family_columns(families), console.width))
    table = grid()
    done = f", {plan.done} of them done" if plan.done else ""
    table.add_row("  trials", f"{plan.trials}{done}")
    table.add_row(
        "  lanes", f"{plan.lanes} on {plan.cpus:g} CPUs and {plan.gpus_used:g} of {plan.gpus:g} GPUs"
    )
    table.add_row("  time", f"about {seconds(plan.seconds)} if nothing is stopped early")
    table.add_row("  disk", size(plan.disk_bytes))
    console.print(table)
    for family in families:
        if family.gpu_lanes:
            console.print(Text(f"  {family.family}, gpus: auto: {family.gpu_lanes}"), soft_wrap=True)
        if family.stack:
            console.print(Text(f"  {family.family}: {family.stack}"), soft_wrap=True)
    for warning in plan.warnings:
        console.print(Text(f"  warning: {warning}", style="yellow"), soft_wrap=True)


def _family_columns(families: Sequence[FamilyPlan]) -> list[TableColumn]:
    return [
        TableColumn(heading="family", cells=[family.family for family in families], shrinks=True),
        TableColumn(heading="trials", cells=[str(family.trials) for family in families], right=True),
        TableColumn(heading="epochs", cells=[str(family.epochs) for family in families], right=True),
        TableColumn(
            heading="a trial", cells=[seconds(family.trial_seconds) for family in families], right=True
        ),
        TableColumn(heading="a lane", cells=[family.lane for family in families]),
        TableColumn(
            heading="weights",
            cells=[short_count(family.parameters) for family in families],
            right=True,
            gives_way=1,
        ),
        TableColumn(
            heading="size", cells=[size(family.size_bytes) for family in families], right=True, gives_way=1
        ),
    ]
