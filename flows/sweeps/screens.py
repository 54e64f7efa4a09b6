"""Families, checks, new files, plans and confirmations as people see them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from flows.terminal.console import print_line
from flows.terminal.formatting import seconds, short_count, size
from flows.terminal.tables import TableColumn, fit_table, grid

if TYPE_CHECKING:
    from flows.sweeps.new import NewFile
    from flows.sweeps.plan import FamilyPlan, Plan


def print_new_file(console: Console, result: NewFile) -> None:
    """What was seen, what was written, and what to type next."""
    from flows.config.writing.sweep_text import profile_lines

    for line in profile_lines(result.look) if result.look is not None else ():
        print_line(console, f"  {line}")
    console.print(Text(""))
    print_line(console, f"{result.path} is written, with {', '.join(result.families)}")
    for command in ("plan", "sweep"):
        print_line(console, f"  velodrome {command} {result.path}", "cyan")


def print_plan(console: Console, plan: Plan) -> None:
    """What the sweep will need, and what is worth a thought."""
    goals = ", ".join(f"{goal['direction']} {goal['metric']}" for goal in plan.objectives)
    console.print(Text.assemble((plan.sweep, "bold"), f" can run: {goals}"), soft_wrap=True)
    for line in plan.data:
        print_line(console, f"  {line}", "dim")
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
            print_line(console, f"  {family.family}, gpus: auto: {family.gpu_lanes}")
        if family.stack:
            print_line(console, f"  {family.family}: {family.stack}")
    for warning in plan.warnings:
        print_line(console, f"  warning: {warning}", "yellow")


def _family_columns(families: Sequence[FamilyPlan]) -> list[TableColumn]:
    return [
        TableColumn("family", [family.family for family in families], shrinks=True),
        TableColumn("trials", [str(family.trials) for family in families], right=True),
        TableColumn("epochs", [str(family.epochs) for family in families], right=True),
        TableColumn("a trial", [seconds(family.trial_seconds) for family in families], right=True),
        TableColumn("a lane", [family.lane for family in families]),
        TableColumn(
            "weights", [short_count(family.parameters) for family in families], right=True, gives_way=1
        ),
        TableColumn("size", [size(family.size_bytes) for family in families], right=True, gives_way=1),
    ]
