"""Exports as people see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from flows.terminal.console import print_line
from flows.terminal.formatting import size

if TYPE_CHECKING:
    from rich.console import Console

    from flows.export.export import Export


def print_export(console: Console, result: Export) -> None:
    """The archive, what is in it, and the commands that use it."""
    console.print(Text.assemble("  ", (str(result.path), "bold"), f"  {size(result.size_bytes)}"))
    for entry in result.files:
        console.print(Text.assemble(f"  {entry.name}  ", (size(entry.size_bytes), "dim")))
    for line in result.commands:
        print_line(console, f"  $ {line}")
