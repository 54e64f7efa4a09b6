"""Reproductions and exports as people see them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich.text import Text

from flows.terminal.formatting import number
from flows.terminal.tables import grid

if TYPE_CHECKING:
    from rich.console import Console

    from flows.reproduction.result import Deviation, Reproduction

SHOWN = 8
_SAID = {
    "identical": ("came out identical, to the bit", "green"),
    "within-tolerance": ("came out within the tolerance", "yellow"),
    "different": ("came out otherwise", "red"),
}


def print_reproduction(console: Console, result: Reproduction) -> None:
    """The verdict, what it was judged by, the largest deviations, and what is not as it was."""
    words, style = _SAID[result.verdict]
    kind = "" if result.role == "search" else f"{result.role} "
    name = f"{result.sweep}, {kind}{result.family} #{result.number}"
    console.print(Text.assemble(f"  {name} ", (words, f"bold {style}")))
    table = grid()
    for entry in result.judged:
        table.add_row(f"  {entry.metric}", _describe_deviation(entry))
    same = result.compared - len(result.deviations)
    table.add_row(
        "  numbers", f"{same} of {result.compared} the same to the bit, over {result.epochs} epochs"
    )
    if result.weights is not None:
        table.add_row("  weights", "the same to the bit" if result.weights else "not the same")
    for entry in result.deviations[:SHOWN]:
        table.add_row(
            f"  {entry.metric}",
            f"{_describe_deviation(entry)}{f', epoch {entry.epoch}' if entry.epoch else ''}",
        )
    for one in result.circumstances:
        table.add_row(f"  {one.name}", f"was {one.recorded}, is {one.found}")
    console.print(table)
    if result.verdict != "identical" and not result.circumstances:
        console.print(Text("  nothing recorded is otherwise: a thread count, a processor or a clock may be"))


def _describe_deviation(entry: Deviation) -> str:
    if entry.recorded is None or entry.found is None:
        missing = "not recorded" if entry.recorded is None else "did not come out"
        return f"{missing} ({number(entry.found if entry.recorded is None else entry.recorded, 6)})"
    if entry.recorded == entry.found:
        return number(entry.found, 6)
    share = "" if math.isinf(entry.relative) else f", {number(100 * entry.relative, 2)} % apart"
    return f"{number(entry.recorded, 6)} recorded, {number(entry.found, 6)} now{share}"
