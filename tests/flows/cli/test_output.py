"""What a command writes while it works."""

import io

import pytest

from flows.cli.output import show_busy


class Stream(io.StringIO):
    """A stream that is a terminal or none."""

    def __init__(self, *, live: bool) -> None:
        super().__init__()
        self._live = live

    def isatty(self) -> bool:
        """As asked for."""
        return self._live


@pytest.mark.parametrize("live", [True, False])
def test_long_work_shows_a_sign_of_life_on_a_terminal_alone(
    monkeypatch: pytest.MonkeyPatch, live: bool
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    stream = Stream(live=live)
    monkeypatch.setattr("sys.stderr", stream)
    with show_busy("reading csv:a.csv"):
        pass
    assert ("reading csv:a.csv" in stream.getvalue()) == live
