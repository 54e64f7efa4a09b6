"""What was left behind as people see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from flows.terminal.console import print_line
from flows.terminal.formatting import seconds, size
from flows.terminal.tables import TableColumn, fit_table

if TYPE_CHECKING:
    from flows.upkeep.gc import GcResult


def print_gc(console: Console, result: GcResult) -> None:
    """A row for each, the sum, what stays, and what to type next."""
    found = result.leftovers
    if found:
        columns = [
            TableColumn("what", [str(leftover.kind) for leftover in found]),
            TableColumn("size", [size(leftover.size_bytes) for leftover in found], right=True),
            TableColumn("age", [seconds(leftover.age_s) for leftover in found], right=True),
            TableColumn("why", [leftover.why for leftover in found], gives_way=1),
            TableColumn("path", [str(leftover.path) for leftover in found], wraps=True),
        ]
        console.print(fit_table(columns, console.width))
    for path, why in result.passed_over.items():
        print_line(console, f"  stays: {path}: {why}", "dim")
    for path, why in result.failed.items():
        print_line(console, f"  not removed: {path}: {why}", "yellow")
    entries = "1 thing" if len(found) == 1 else f"{len(found)} things"
    what = f"{entries} of {size(result.size_bytes)} together, untouched for {seconds(result.older_than_s)}"
    if result.applied:
        print_line(console, f"removed {what}")
    elif found:
        print_line(console, f"{what}: would be removed by `velodrome gc --apply`")
    else:
        print_line(console, f"nothing was left behind for {seconds(result.older_than_s)}")
