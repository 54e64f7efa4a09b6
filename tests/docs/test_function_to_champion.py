"""The page from a function to a champion, word by word: its files, its commands, its server."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, blocks
from tests.flows.inference.test_serve import ask, free_port, run_server

PAGE = ROOT / "docs/function-to-champion.md"
FILES = ("split.py", "forest.py", "threshold.py", "answers.py", "module.py", "cancer.yaml", "policy.yaml")
LIMIT_S = 290


def page_files() -> dict[str, str]:
    """The page's code and YAML by the names that the text gives them, in their order."""
    return dict(zip(FILES, [*blocks(PAGE, "py"), *blocks(PAGE, "yml")], strict=True))


def test_files_of_the_page_are_named_in_its_text_and_in_order() -> None:
    text = PAGE.read_text()
    assert [text.index(f"`{name}`") for name in FILES] == sorted(text.index(f"`{name}`") for name in FILES)
    for name, content in page_files().items():
        if name.endswith(".py"):
            compile(content, name, "exec")


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_page_leads_from_a_function_to_an_answering_champion(tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "VELODROME_HOME": str(tmp_path / ".velodrome"),
        "COLUMNS": "160", "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore",
    }  # fmt: skip
    for name, content in page_files().items():
        (tmp_path / name).write_text(content)
    said = {}
    for block in blocks(PAGE, "console"):
        for line in re.findall(r"^\$ (.*)$", block, re.MULTILINE):
            called = line.replace("velodrome ", f"{shlex.quote(sys.executable)} -m flows.cli ", 1)
            called = re.sub(r"^python ", f"{shlex.quote(sys.executable)} ", called)
            done = subprocess.run(
                called, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True,
                timeout=LIMIT_S,
            )  # fmt: skip
            assert done.returncode == 0, (line, done.stdout[-2000:], done.stderr[-2000:])
            said[" ".join(line.split()[:2])] = done.stdout
    for family in ("forest.train", "threshold", "module.train"):
        assert family in said["velodrome sweep"]
    assert " test " not in said["velodrome confirm"].splitlines()[1]
    assert "cancer/1 is the champion" in said["velodrome promote"]
    answers = (tmp_path / "answers.csv").read_text().splitlines()
    assert answers[0].split(",")[-3:] == ["prediction", "p_0", "p_1"]
    assert len(answers) == 170
    _check_server(tmp_path, environment)


def _check_server(folder: Path, environment: dict[str, str]) -> None:
    (serve, *asked) = re.findall(r"^\$ velodrome (serve.*)$|-d '(.*)'\}?$", PAGE.read_text(), re.MULTILINE)
    port = free_port()
    words = shlex.split(serve[0].replace("8000", str(port)))
    command = [sys.executable, "-m", "flows.cli", *words]
    with run_server(command, port, environment, folder / "serve.log"):
        body = json.loads(asked[0][1])
        status, version, document = ask(port, json.dumps(body).encode())
    assert (status, version) == (200, "cancer/1")
    assert document["predictions"][0]["label"] in {"0", "1"}
