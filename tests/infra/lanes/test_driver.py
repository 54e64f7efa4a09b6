"""What Ray's errors come to in one line."""

from __future__ import annotations

from infra.lanes.driver import last_line


def test_last_line_of_coloured_traceback_is_plain() -> None:
    """Ray colours its remote tracebacks."""
    text = "\x1b[36mray::A()\x1b[39m\n  File x\nModuleNotFoundError: No module named 'infra'\n\n"
    assert last_line(text) == "ModuleNotFoundError: No module named 'infra'"
    assert last_line("  \n") == ""
