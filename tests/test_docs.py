"""README and docs say what is so: files load, commands have their options, names and links lead somewhere."""

from __future__ import annotations

import ast
import contextlib
import importlib
import io
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from flows.cli.app import app
from flows.config.loading import load_sweep
from flows.config.resolving import resolve_families, resolve_sweep
from trainers.data.sources.opening import open_dataset
from trainers.registry import is_function, load_reference

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "docs" / "examples"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGE_NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
LATER = "submit"
OURS = "flows|infra|trainers|search_spaces|velodrome|tests|benchmarks|docs|scripts"


def blocks(page: Path, language: str) -> list[str]:
    """The page's fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


def code_blocks(language: str) -> list[Any]:
    """All blocks of one language with the page and place that they stand at."""
    return [
        pytest.param(block, id=f"{page.name}-{place}")
        for page in PAGES
        for place, block in enumerate(blocks(page, language))
    ]


@pytest.fixture
def examples(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of the examples as the current one, and its modules importable."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.chdir(EXAMPLES)
    yield EXAMPLES
    for name in ("table_mlp", "plain_function"):
        sys.modules.pop(name, None)


def resolve(path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The specification of a file, as `sweep` would make it, without its data."""
    monkeypatch.setenv("LEDGER_PASSWORD", "x")
    file = load_sweep(path, ())
    resolve_families(file)
    task = file.data.get("task")
    usual = {"regression": "mse"}.get(str(task), "accuracy")
    return resolve_sweep(file, default_metric=usual)


@pytest.mark.parametrize("text", code_blocks("yaml"))
def test_docs_sweep_files_load_and_resolve(
    text: str, examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    assert resolve(path, monkeypatch).families


@pytest.mark.parametrize("name", ["cancer", "function"])
def test_docs_examples_equal_what_the_pages_show(
    name: str, examples: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = (examples / f"{name}.yaml").read_text()
    shown = "".join(line for line in written.splitlines(keepends=True) if not line.startswith("#"))
    assert any(shown == block for page in PAGES for block in blocks(page, "yaml"))
    resolve(examples / f"{name}.yaml", monkeypatch)


def test_docs_quickstart_resolves(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = resolve(ROOT / "docs" / "quickstart.yaml", monkeypatch)
    assert [(family.name, family.trials) for family in spec.families] == [("image_cnn", 12)]


@pytest.mark.parametrize("name", sorted(path.name for path in (ROOT / "benchmarks/quality").glob("*.yaml")))
def test_docs_files_behind_the_log_resolve(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve(ROOT / "benchmarks" / "quality" / name, monkeypatch).families


@pytest.mark.parametrize("page", PAGES, ids=PAGE_NAMES)
def test_docs_benchmark_commands_parse(page: Path) -> None:
    """They import each other: by a file's path Python would not find the others."""
    for named, path in re.findall(
        r"python (?:-m benchmarks\.(\w+)|(benchmarks/[\w/]+\.py))", page.read_text()
    ):
        if named:
            assert (ROOT / "benchmarks" / f"{named}.py").exists(), named
        else:
            assert "from benchmarks" not in (ROOT / path).read_text(), path


def commands() -> dict[str, set[str]]:
    """Every command with its options."""
    found: Any = get_command(app)
    return {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in found.commands.items()
    }


@pytest.mark.parametrize("page", PAGES, ids=PAGE_NAMES)
def test_docs_commands_exist_with_their_options(page: Path) -> None:
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


def test_readme_lists_every_command_and_what_is_missing() -> None:
    text = (ROOT / "README.md").read_text()
    table = text[text.index("## Commands") : text.index("## What holds under failure")]
    assert set(re.findall(r"`velodrome ([a-z]+)", table)) == set(commands())
    limits = text[text.index("## Limits") :]
    for name in LATER.split():
        assert f"`{name}`" in limits
        assert name not in commands()


@pytest.mark.parametrize("page", PAGES, ids=PAGE_NAMES)
def test_docs_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not target.startswith("https://"):
            assert (page.parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=PAGE_NAMES)
def test_docs_name_only_tests_and_files_that_exist(page: Path) -> None:
    text = page.read_text()
    for path, name in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", text):
        tree = ast.parse((ROOT / path).read_text())
        names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert name in names, f"{path}::{name}"
    for path in re.findall(rf"`((?:{OURS})/[\w./-]*)`", text):
        assert (ROOT / path).exists(), path
    for name in re.findall(rf"`((?:{OURS})\.[\w.]+)`", text):
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


@pytest.mark.parametrize("code", code_blocks("python"))
def test_docs_python_blocks_run(code: str, examples: Path) -> None:
    before = next((block for block in blocks(ROOT / "README.md", "python") if "def train" in block), "")
    needs = "try_out(train" in code and "def train" not in code
    space: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(compile((before if needs else "") + "\n" + code, "<page>", "exec"), space)


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


def test_the_error_block_of_the_readme_is_real(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(
        "name: bad\ndata: {source: builtin:digits}\nbudget: {trails: 12}\nfamilies: {image_cnn: {}}\n"
    )
    ended = subprocess.run(
        [sys.executable, "-m", "flows.cli", "plan", "bad.yaml"],
        cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 2
    assert ended.stderr.rstrip() in (ROOT / "README.md").read_text()


def test_docs_two_commands_are_those_of_the_makefile() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test", "setup"} <= targets


def test_docs_name_nothing_of_one_machine() -> None:
    for page in PAGES:
        assert not re.search(r"/(work|tmp|home|root)/", page.read_text()), page.name
    assert (ROOT / "docs" / "mlflow.png").stat().st_size <= 300 * 1024
    assert (ROOT / "docs" / "report.png").stat().st_size <= 400 * 1024
