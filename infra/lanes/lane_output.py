"""What the trials of a lane print: one stream for all, which leads to the log of the one under way."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO


class LaneOutput:
    """A stream that outlives each trial's log. A logger's handler that a library sets up in the first trial
    keeps the stream that it found: it writes to the later trials' logs, and never to a closed one."""

    def __init__(self) -> None:
        """Leads to the process's own stderr."""
        self._log: TextIO | None = None

    @contextmanager
    def lead_to(self, log: TextIO) -> Iterator[None]:
        """Leads there within."""
        before, self._log = self._log, log
        try:
            yield
        finally:
            self._log = before

    def __getattr__(self, name: str) -> Any:
        """All that a stream has is the present log's."""
        return getattr(self._log or sys.__stderr__, name)

    def write(self, text: str) -> int:
        """As the present log."""
        written: int = (self._log or sys.__stderr__).write(text)  # type: ignore[union-attr]  # a lane has one
        return written
