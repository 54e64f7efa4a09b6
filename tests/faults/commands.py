"""Commands run in this process, in a folder and a home of their own, as a shell would run them."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ADDRESSES = ("VELODROME_LEDGER", "VELODROME_STORAGE", "MLFLOW_TRACKING_URI")


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended."""

    status: int
    out: str
    err: str


@contextlib.contextmanager
def standing_in(folder: Path, **environment: str) -> Iterator[None]:
    """The current folder, whose home is `home` beside it, and the environment of commands."""
    folder.mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        for name in ADDRESSES:
            patch.delenv(name, raising=False)
        patch.setenv("VELODROME_HOME", str(folder.parent / "home"))
        patch.setenv("COLUMNS", "100")
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.chdir(folder)
        yield


def velodrome(*words: str) -> CommandResult:
    """One command, to its end."""
    from flows.cli import main

    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main(words)
        except SystemExit as ended:
            status = ended.code
    assert isinstance(status, int)
    return CommandResult(status, out.getvalue(), err.getvalue())


def tree(folder: Path) -> set[str]:
    """Everything below a folder."""
    return {os.path.relpath(path, folder) for path in folder.rglob("*")}
