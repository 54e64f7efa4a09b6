"""Files and code on the pages work as they are shown."""

from __future__ import annotations

import contextlib
import io
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from flows.config.policy import Policy
from search_spaces import strict_yaml
from tests.docs.pages import EXAMPLES, PAGES, ROOT, blocks, every_block, resolve
from trainers.data.sources.opening import open_dataset
from trainers.registry import is_function, load_reference

WITH_PYTHON = [page for page in PAGES if blocks(page, "python")]


@pytest.mark.parametrize("text", every_block("yaml"))
def test_page_sweep_files_load_and_resolve(
    text: str, examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    assert resolve(path, monkeypatch).families


def _translations() -> list[str]:
    """The sweep files beside those of other tools."""
    page = (ROOT / "docs" / "coming-from.md").read_text()
    tabs = re.findall(r'^=== "Velodrome"\n(.*?)(?=^\S)', page, re.MULTILINE | re.DOTALL)
    files = [re.search(r"```yml\n(.*?)```", textwrap.dedent(tab), re.DOTALL) for tab in tabs]
    return [found[1] for found in files if found]


def test_there_is_a_translation_of_each_tool() -> None:
    assert len(_translations()) == 3


@pytest.mark.parametrize("text", _translations())
def test_translated_sweep_file_resolves(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mymodule.py").write_text("def train(trial):\n    trial.report(accuracy=1.0)\n")
    (tmp_path / "sweep.yaml").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "mymodule", raising=False)
    monkeypatch.chdir(tmp_path)
    (family,) = resolve(tmp_path / "sweep.yaml", monkeypatch).families
    assert (family.trials, family.budget.epochs) == (50, 10)


def test_policy_on_its_page_is_valid() -> None:
    (text,) = blocks(ROOT / "docs" / "policy.md", "yml")
    assert Policy.model_validate(strict_yaml.load_yaml(text.encode(), "policy.md").value).min_examples == 200


@pytest.mark.parametrize("name", ["cancer", "function"])
def test_the_examples_are_what_the_pages_show(
    name: str, examples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = (examples / f"{name}.yaml").read_text()
    shown = "".join(line for line in written.splitlines(keepends=True) if not line.startswith("#"))
    assert any(shown == block for page in PAGES for block in blocks(page, "yaml"))
    resolve(examples / f"{name}.yaml", monkeypatch)


def test_the_quickstart_resolves(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = resolve(ROOT / "docs" / "quickstart.yaml", monkeypatch)
    assert [(family.name, family.trials) for family in spec.families] == [("image_cnn", 12)]


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "benchmarks/quality").glob("*.yaml")))
def test_the_files_behind_the_log_resolve(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve(ROOT / "benchmarks" / "quality" / name, monkeypatch).families


@pytest.mark.parametrize("page", WITH_PYTHON, ids=[page.name for page in WITH_PYTHON])
def test_python_on_a_page_runs_from_top_to_bottom(page: Path, examples: Path) -> None:
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        for place, code in enumerate(blocks(page, "python")):
            exec(compile(code, f"<{page.name}, block {place}>", "exec"), names)


def test_the_example_family_learns(examples: Path, tmp_path: Path) -> None:
    import velodrome

    said: list[str] = []
    outcome = velodrome.try_out(
        "table_mlp:TableMLP", {"learning_rate": 1e-2}, epochs=5, data="builtin:cancer", show=said.append
    )
    assert outcome.values[0] > 0.9
    assert len(said) == 5
    family: Any = load_reference("table_mlp:TableMLP")
    with pytest.raises(Exception, match="kind"):
        family().check(open_dataset({"source": "builtin:digits"}, base=tmp_path, cache=tmp_path))


def test_the_example_function_learns(examples: Path) -> None:
    import velodrome

    assert is_function(load_reference("plain_function:train"))
    params = {"learning_rate": 3e-2, "dropout": 0.1}
    outcome = velodrome.try_out(
        "plain_function:train", params, epochs=3, objective="accuracy", show=lambda _line: None
    )
    assert outcome.values[0] > 0.8
    assert outcome.code["build"] == "plain_function:build"


def test_examples_lie_where_the_pages_say() -> None:
    assert {path.name for path in EXAMPLES.glob("*.yaml")} == {"cancer.yaml", "function.yaml"}
