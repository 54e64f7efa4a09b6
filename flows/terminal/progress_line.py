"""How far a long piece of work has come: a line that changes on a terminal, now and then one elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from trainers.wording import count_of

TERMINAL_S = 0.2
ELSEWHERE_S = 10.0


class ProgressLine:
    """Rows so far and rows a second."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._clock = stream, clock
        self._told = clock()
        self._first: tuple[float, int] | None = None  # models are loaded before: that is no row's time
        self._live = stream.isatty()

    def advance(self, rows: int, _size_bytes: int) -> None:
        """So many rows are done."""
        now = self._clock()
        began, before = self._first = self._first or (now, rows)
        if now - self._told < (TERMINAL_S if self._live else ELSEWHERE_S):
            return
        self._told = now
        rate = f", {(rows - before) / (now - began):,.0f} a second" if now > began else ""
        text = f"{count_of(rows, 'row')}{rate}"
        self._stream.write(f"\r\x1b[K{text}" if self._live else f"{text}\n")
        self._stream.flush()

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
