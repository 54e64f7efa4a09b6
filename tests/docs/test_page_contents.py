"""README and pages say what is so: commands, names, links, messages and files are those that there are."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from flows.cli.app import app
from tests.docs.pages import PAGES, ROOT, blocks, each_page

OURS = "flows|infra|trainers|search_spaces|velodrome|tests|benchmarks|docs|scripts"
PRODUCT = ("velodrome", "flows", "infra", "trainers", "search_spaces")


@each_page
def test_benchmarks_are_started_as_they_can_be(page: Path) -> None:
    """They import each other: by a file's path Python would not find the others."""
    for named, path in re.findall(
        r"python (?:-m benchmarks\.([\w.]*\w)|(benchmarks/[\w/]+\.py))", page.read_text()
    ):
        if named:
            module = ROOT / "benchmarks" / named.replace(".", "/")
            assert module.with_suffix(".py").exists() or (module / "__main__.py").exists(), named
        else:
            assert "from benchmarks" not in (ROOT / path).read_text(), path


def commands() -> dict[str, set[str]]:
    """Every command with its options."""
    found: Any = get_command(app)
    return {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in found.commands.items()
    }


@each_page
def test_page_names_only_commands_and_options_that_exist(page: Path) -> None:
    known = commands()
    text = page.read_text()
    lines = [line for block in blocks(page, "console") for line in block.splitlines()]
    spoken = [
        *re.findall(r"`([^`\n]+)`", text),
        *(line.removeprefix("$ ").partition(" #")[0] for line in lines),
    ]
    for words in (entry.split() for entry in spoken):
        if len(words) < 2 or words[0] != "velodrome" or not re.fullmatch(r"[a-z]+", words[1]):
            continue
        assert words[1] in known, " ".join(words)
        options = {re.sub(r"[\[\]…,]", "", word) for word in words[2:] if re.match(r"\[?--?[a-z]", word)}
        unknown = options - known[words[1]]
        assert not unknown, f"{' '.join(words)}: no {', '.join(sorted(unknown))}"


@each_page
def test_page_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not target.startswith("https://"):
            assert (page.parent / target.partition("#")[0]).exists(), target


@each_page
def test_page_names_only_tests_and_files_that_exist(page: Path) -> None:
    text = page.read_text()
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text):
        tree = ast.parse((ROOT / path).read_text())
        names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert name in names, f"{path}::{name}"
    for path in re.findall(rf"`((?:{OURS})/[\w./-]*)`", text):
        assert (ROOT / path).exists(), path
    for name in re.findall(rf"`((?:{OURS})\.[\w.]+)`", text):
        module, _, attribute = name.rpartition(".")
        assert _exists(module, attribute) or name in written_texts(), name  # a tag of a run, else


def _exists(module: str, attribute: str) -> bool:
    if hasattr(importlib.import_module(module), attribute):
        return True
    return find_spec(f"{module}.{attribute}") is not None


def test_the_error_block_of_the_page_is_real(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(
        "name: bad\ndata: {source: builtin:digits}\nbudget: {trails: 12}\nfamilies: {image_cnn: {}}\n"
    )
    ended = subprocess.run(
        [sys.executable, "-m", "flows.cli", "plan", "bad.yaml"],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr in blocks(ROOT / "docs" / "troubleshooting.md", "text")


def explained_messages() -> list[str]:
    """The messages that the page on troubleshooting explains: the first column of its tables of messages."""
    page = (ROOT / "docs" / "troubleshooting.md").read_text()
    tables = re.findall(r"^\| (?:must hold|what is said) \|.*\n\| --- .*\n((?:\|.*\n)+)", page, re.MULTILINE)
    return [message for rows in tables for message in re.findall(r"^\| `([^`]+)` \|", rows, re.MULTILINE)]


@cache
def written_texts() -> tuple[str, ...]:
    """Every text in the code of the product, with … for what is put into it."""
    texts = []
    for folder in PRODUCT:
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.JoinedStr):
                    texts.append("".join(_piece(value) for value in node.values))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts.append(node.value)
    return tuple(texts)


def _piece(value: ast.expr) -> str:
    return str(value.value) if isinstance(value, ast.Constant) else "…"


def test_the_page_explains_messages() -> None:
    assert len(explained_messages()) > 50


@pytest.mark.parametrize("message", explained_messages())
def test_an_explained_message_is_one_of_the_codes(message: str) -> None:
    pattern = re.compile(".*".join(re.escape(part.strip()) for part in message.split("…")), re.DOTALL)
    assert any(pattern.search(text) for text in written_texts()), message


def test_pages_name_nothing_of_one_machine() -> None:
    for page in PAGES:
        assert not re.search(r"/(work|tmp|home|root)/", page.read_text()), page.name
    assert (ROOT / "docs" / "mlflow.png").stat().st_size <= 300 * 1024
    assert (ROOT / "docs" / "report.png").stat().st_size <= 400 * 1024
