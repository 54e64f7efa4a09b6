"""Commands on the page of clusters are ones that the installed programs take."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest

from tests.click_parsing import parse_command
from tests.docs.pages import ROOT, blocks

PAGE = ROOT / "docs" / "cluster.md"
KNOWN = {"pip", "(umask", "export", "createuser", "createdb", "mlflow", "ray", "velodrome"}


def _commands(program: str = "") -> list[list[str]]:
    lines = [line for block in blocks(PAGE, "console") for line in block.splitlines()]
    assert all(line.startswith("$ ") for line in lines)
    words = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]
    return [found for found in words if not program or found[0] == program]


def test_page_names_programs_that_are_looked_at() -> None:
    assert {words[0] for words in _commands()} == KNOWN
    assert len(_commands("ray")) >= 3


def test_page_gives_ray_only_commands_that_it_takes() -> None:
    from ray.scripts.scripts import cli

    for words in _commands("ray"):
        parse_command(cli, words)
    with pytest.raises(Exception, match="no-such-flag"):
        parse_command(cli, ["ray", "start", "--no-such-flag"])


@pytest.mark.filterwarnings("ignore")  # MLflow's, as it is imported
def test_page_gives_mlflow_only_commands_and_variables_that_it_takes() -> None:
    from mlflow.cli import cli

    commands: Any = cli
    for words in _commands("mlflow"):
        parse_command(cli, words)
    read = {getattr(option, "envvar", None) for option in commands.commands["server"].params}
    exported = {word.partition("=")[0] for words in _commands("export") for word in words[1:]}
    assert {name for name in exported if name.startswith("MLFLOW_")} <= read


def test_page_installs_an_extra_that_there_is() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    ((*_, what),) = _commands("pip")
    extra = re.search(r"\[(\w+)\]", what)
    assert extra is not None
    assert f"\n{extra[1]} = [" in project
