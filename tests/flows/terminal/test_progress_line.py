"""Progress: rewritten on a terminal, seldom elsewhere, and its rate without the start."""

from __future__ import annotations

import io

from flows.terminal.progress_line import ProgressLine


class Stream(io.StringIO):
    """A stream that may be a terminal."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


def progress_output(terminal: bool) -> str:
    """What is written while 30,000 rows take 30 seconds, after a start of 100."""
    now = 0.0
    stream = Stream(terminal)
    with ProgressLine(stream, lambda: now) as line:
        now = 100.0
        for rows in range(1000, 31_000, 1000):
            now += 1.0
            line.advance(rows, rows)
    return stream.getvalue()


def test_progress_line_without_terminal_is_printed_at_intervals() -> None:
    assert progress_output(terminal=False).splitlines() == [
        "1,000 rows",
        "11,000 rows, 1,000 a second",
        "21,000 rows, 1,000 a second",
    ]


def test_progress_line_on_terminal_is_rewritten_and_erased() -> None:
    text = progress_output(terminal=True)
    assert "\n" not in text
    assert text.endswith("\r\x1b[K")
    assert "30,000 rows, 1,000 a second" in text
