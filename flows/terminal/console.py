"""A console whose reader may leave."""

from __future__ import annotations

import sys
from typing import NoReturn

from rich.console import Console
from rich.text import Text


class PatientConsole(Console):
    """Rich's console, which by itself ends the process when a pipe is closed; a sweep must go on."""

    def on_broken_pipe(self) -> NoReturn:
        """Leaves the decision to the caller."""
        raise BrokenPipeError


def print_line(console: Console, text: str, style: str = "") -> None:
    """A line that is folded by the terminal alone, so that it can be copied whole."""
    console.print(Text(text, style=style), soft_wrap=True)


def print_stderr(text: str) -> None:
    """One line for the person who waits; stdout stays free for documents."""
    print(text, file=sys.stderr, flush=True)
