"""SIGINT and SIGTERM of a command that drives a sweep."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType


class SecondSignal(BaseException):
    """A second signal: leave at once."""


@dataclass(slots=True)
class StopSignals:
    """SIGINT and SIGTERM of a driven sweep: the first asks for a clean stop, a second for a quick one."""

    received: list[int] = field(default_factory=list)
    _hurries: bool = False

    @property
    def first_signal(self) -> int | None:
        """The first signal's number."""
        return self.received[0] if self.received else None

    @property
    def has_second(self) -> bool:
        """Whether a second one came."""
        return len(self.received) > 1

    @contextmanager
    def catch_signals(self) -> Iterator[StopSignals]:
        """Catches them within the block, where this is the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield self
            return
        former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in former:
            signal.signal(number, self._receive_signal)
        try:
            yield self
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    @contextmanager
    def raise_on_second(self) -> Iterator[None]:
        """Within the block, whatever it waits for, a second signal ends it.

        Raises:
            SecondSignal: a second signal came.
        """
        self._hurries = True
        try:
            if self.has_second:
                raise SecondSignal
            yield
        finally:
            self._hurries = False

    def _receive_signal(self, number: int, _frame: FrameType | None) -> None:
        self.received.append(number)
        if self._hurries and self.has_second:
            self._hurries = False
            raise SecondSignal
