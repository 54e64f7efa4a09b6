"""The site builds without a warning, loads nothing from elsewhere, and its references are complete."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import velodrome
from flows.cli.app import app
from flows.config.schema import json_schema
from scripts.pages.python_names import results
from scripts.pages.sweep_file import keys
from tests.docs.pages import ROOT, resolve

BUILD_LIMIT_S = 120


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    ended = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True, text=True, timeout=BUILD_LIMIT_S,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return folder


def cells(page: str) -> Iterator[list[str]]:
    """The rows of a page's tables, each cell as text."""
    for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL):
        yield [
            html.unescape(re.sub(r"<[^>]+>", "", cell))
            for cell in re.findall(r"<td>(.*?)</td>", row, re.DOTALL)
        ]


def schema_names() -> set[str]:
    """Every key that the schema has anywhere, as the schema itself says."""

    def walk(node: Any) -> Iterator[str]:
        if isinstance(node, Mapping):
            for name, entry in node.get("properties", {}).items():
                if "const" not in entry:
                    yield name
            for entry in node.values():
                yield from walk(entry)
        elif isinstance(node, list):
            for entry in node:
                yield from walk(entry)

    return set(walk(json_schema()))


@pytest.mark.slow
def test_sweep_file_page_has_each_key_with_type_default_and_meaning(site: Path) -> None:
    pages = [(site / name).read_text() for name in ("sweep-file.html", "search-spaces.html")]
    rows = [row for page in pages for row in cells(page) if len(row) == 4]
    assert all(all(cell.strip() for cell in row) for row in rows)
    shown = {row[0].removesuffix(" *").rpartition(".")[2] for row in rows}
    sections = set(re.findall(r'<h2 id="([\w-]+)"', pages[0]))
    assert schema_names() <= shown | sections
    for key in ("budget.min_delta *", "families.FAMILY.trial_minutes", "resources.accelerator *",
                "search.warm_start", "prices.gpu_hour", "hyperband.reduction", "percentile.percentile",
                "tpe.multivariate"):  # fmt: skip
        assert any(row[0] == key for row in rows), key


@pytest.mark.slow
def test_command_line_page_has_each_command_with_its_options(site: Path) -> None:
    page = (site / "commands.html").read_text()
    group: Any = get_command(app)
    sections = dict(re.findall(r'<h3 id="velodrome-(\w+)">(.*?)(?=<h[23] |</article>)', page, re.DOTALL))
    assert sections.keys() == group.commands.keys()
    for name, command in group.commands.items():
        text = html.unescape(re.sub(r"<[^>]+>", "", sections[name]))
        assert command.help in text
        for parameter in command.params:
            if parameter.param_type_name == "option" and parameter.name != "help":
                assert all(option in text for option in parameter.opts), f"{name} {parameter.opts}"
            assert not getattr(parameter, "help", None) or parameter.name == "help" or parameter.help in text


@pytest.mark.slow
def test_api_page_has_each_public_name(site: Path) -> None:
    page = (site / "python.html").read_text()
    for name in velodrome.__all__:
        if name != "__version__":
            assert f'id="velodrome.{name}"' in page, name
    assert 'id="velodrome.model.Model"' in page
    kinds = {kind.__name__ for kind in results()}
    assert {"SweepStatus", "Plan", "NewFile"} <= kinds
    assert kinds <= set(re.findall(r'<h3 id="[\w.]+\.(\w+)"', page))


@pytest.mark.slow
def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert not re.findall(r"<(?:script|img|iframe)[^>]+src=\"(?:https?:)?//[^\"]+", text), page.name
        assert not re.findall(r"<link[^>]+rel=\"(?:stylesheet|preconnect)\"[^>]+href=\"(?:https?:)?//", text)
        assert 'class="mermaid"' not in text  # its program would come from another host


@pytest.mark.slow
def test_generated_parts_are_in_place(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert "generated:" not in page.read_text(), page.name


def test_defaults_on_the_page_are_those_of_a_file_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "least.yaml"
    path.write_text("name: least\ndata: {source: builtin:digits}\nfamilies: {mlp: {}}\n")
    spec = resolve(path, monkeypatch)
    (family,) = spec.families
    shown = {path: key.default.strip("`") for path, key in keys().items()}
    found = {
        "seed": spec.seed, "objective.at": spec.objectives[0].at,
        "budget.trials": family.trials, "budget.epochs": family.budget.epochs,
        "budget.min_delta": int(family.budget.min_delta),
        "search.sampler": family.sampler["name"], "search.pruner": family.pruner["name"],
        "resources.workers": family.resources.workers, "resources.cpus": int(family.resources.cpus),
        "resources.sharding": family.resources.sharding, "checkpoint.every": family.checkpoint_every,
        "checkpoint.keep": spec.keep_checkpoints, "keep.models": spec.keep_models,
        "limits.stall": f"{spec.limits.stall_s / 60:g}m", "limits.start": f"{spec.limits.start_s / 60:g}m",
        "limits.lease": f"{spec.limits.lease_s:g}s",
    }  # fmt: skip
    assert {name: shown[name] for name in found} == {name: str(value) for name, value in found.items()}


def test_defaults_of_data_on_the_page_are_those_of_the_code() -> None:
    from trainers.data.prepare import DEFAULTS
    from trainers.data.split import SplitRule

    shown = {path: key.default for path, key in keys().items()}
    for name, value in DEFAULTS.items():
        assert shown[f"data.prepare.{name}"] == str(value)
    rule = SplitRule()
    for name in ("train", "validation", "test", "by", "salt"):
        assert shown[f"data.split.{name}"] == str(getattr(rule, name))
