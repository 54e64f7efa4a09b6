"""One document on stdout, whatever else is printed there, and streams that are closed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

import pytest

PRINTS = """
import atexit, os
atexit.register(print, "AT THE END")
from flows.cli.app import main
from flows.installation import families

def print_as_an_import(name):
    print("AT THE TOP")
    os.write(1, b"BY NATIVE CODE\\n")
    os.system("echo BY A CHILD")
    return before(name)

before, families.families = families.families, print_as_an_import
main({words!r})
"""


def run(code: str, close: Callable[[], object] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, preexec_fn=close
    )


def test_document_is_alone_on_stdout_whatever_own_code_prints() -> None:
    done = run(PRINTS.format(words=["families", "mlp", "--json"]))
    assert done.returncode == 0, done.stderr
    assert isinstance(json.loads(done.stdout), (dict, list))
    for words in ("AT THE TOP", "BY NATIVE CODE", "BY A CHILD", "AT THE END"):
        assert words in done.stderr


@pytest.mark.parametrize("words", [["families", "mlp"], ["families", "--json", "--help"]])
def test_stdout_stays_as_it_is_where_no_document_is_asked_for(words: list[str]) -> None:
    done = run(PRINTS.format(words=words))
    assert done.returncode == 0, done.stderr
    assert "AT THE END" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("words", [["families", "mlp", "--json"], ["families", "mlp"], ["nosuch"]])
@pytest.mark.parametrize("closed", [(1,), (2,), (0, 1, 2)])
def test_command_with_closed_streams_ends_as_with_open_ones(
    words: list[str], closed: tuple[int, ...]
) -> None:
    code = f"from flows.cli.app import main\nmain({words!r})"
    done = run(code, lambda: list(map(os.close, closed)))
    assert done.returncode == (2 if words == ["nosuch"] else 0), done.stderr
    assert "defect" not in done.stderr
