"""Results that a notebook shows as their screen does."""

from __future__ import annotations

import importlib
from typing import ClassVar


class ShownResult:
    """A result of a command.

    Attributes:
        screen: `module:function` that prints it on a terminal; by name, for screens import their results.
    """

    __slots__ = ()
    screen: ClassVar[str]

    def _repr_html_(self) -> str:
        from flows.terminal.html_console import render_html

        module, _, name = self.screen.partition(":")
        return render_html(getattr(importlib.import_module(module), name), self)
