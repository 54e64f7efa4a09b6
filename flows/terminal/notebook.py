"""Whether a notebook shows what is displayed, and a block of its output that changes in place."""

from __future__ import annotations

import sys
from typing import Any


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


class NotebookBlock:
    """One block below the cell that runs."""

    def __init__(self) -> None:
        """Shows nothing yet."""
        self._handle: Any = None

    def show(self, html: str) -> None:
        """Shows this in the place of what was there."""
        from IPython.display import HTML, display

        if self._handle is None:
            self._handle = display(HTML(html), display_id=True)
        else:
            self._handle.update(HTML(html))
