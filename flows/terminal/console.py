"""A console whose reader may leave."""

from __future__ import annotations

from typing import NoReturn

from rich.console import Console


class PatientConsole(Console):
    """Rich's console, which by itself ends the process when a pipe is closed; a sweep must go on."""

    def on_broken_pipe(self) -> NoReturn:
        """Leaves the decision to the caller."""
        raise BrokenPipeError
