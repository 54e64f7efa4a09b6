"""A home of its own for each test, and the command line called as a shell would."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.home import Home


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended."""

    status: int
    out: str
    err: str


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """An empty home, which commands use too; the current folder is empty as well."""
    for name in ("VELODROME_LEDGER", "VELODROME_STORAGE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("VELODROME_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "100")
    return Home.from_environment()


@pytest.fixture
def velodrome(home: Home, capsys: pytest.CaptureFixture[str]) -> Callable[..., CommandResult]:
    """Runs one command in this process."""
    from flows.cli import main

    def run(*arguments: Any) -> CommandResult:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return CommandResult(code, captured.out, captured.err)

    return run
