"""What was left behind as people see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from flows.terminal.formatting import seconds, size
from flows.terminal.tables import TableColumn, fit_table

if TYPE_CHECKING:
    from flows.upkeep.gc import GcResult


def print_gc(console: Console, result: GcResult) -> None:
    """A row for each, the sum, what stays, and what to type next."""
    found = result.leftovers
    if found:
        columns = [
            TableColumn(heading="what", cells=[str(leftover.kind) for leftover in found]),
            TableColumn(heading="size", cells=[size(leftover.size_bytes) for leftover in found], right=True),
            TableColumn(heading="age", cells=[seconds(leftover.age_s) for leftover in found], right=True),
            TableColumn(heading="why", cells=[leftover.why for leftover in found], gives_way=1),
            TableColumn(heading="path", cells=[str(leftover.path) for leftover in found], wraps=True),
        ]
        console.print(fit_table(columns, console.width))
    for path, why in result.passed_over.items():
        console.print(Text(f"  stays: {path}: {why}", style="dim"), soft_wrap=True)
    for path, why in result.failed.items():
        console.print(Text(f"  not removed: {path}: {why}", style="yellow"), soft_wrap=True)
    entries = "1 thing" if len(found) == 1 else f"{len(found)} things"
    what = f"{entries} of {size(result.size_bytes)} together, untouched for {seconds(result.older_than_s)}"
    if result.applied:
        console.print(Text(f"removed {what}"), soft_wrap=True)
    elif found:
        console.print(Text(f"{what}: would be removed by `velodrome gc --apply`"), soft_wrap=True)
    else:
        console.print(Text(f"nothing was left behind for {seconds(result.older_than_s)}"), soft_wrap=True)
