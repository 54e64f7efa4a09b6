"""Results that a notebook shows as their screen does."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, ClassVar

from flows.terminal.json_results import PlainResult

if TYPE_CHECKING:
    from rich.console import Console


class ShownResult(PlainResult):
    """A result of a command.

    Attributes:
        screen: `module:function` that prints it on a terminal; by name, for screens import their results.
    """

    __slots__ = ()
    screen: ClassVar[str]

    def _repr_html_(self) -> str:
        from flows.terminal.html_console import render_html

        return render_html(print_on_screen, self)


def print_on_screen(console: Console, result: ShownResult) -> None:
    """Prints a result by its screen."""
    module, _, name = result.screen.partition(":")
    getattr(importlib.import_module(module), name)(console, result)
