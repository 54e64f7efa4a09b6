"""README, Makefile, metadata and changelog agree with each other."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import velodrome
from tests.docs.pages import ROOT, blocks

README = (ROOT / "README.md").read_text()
NAV_PAGE = re.compile(r"^ +- ([\w-]+\.md)$", re.MULTILINE)


def project() -> dict[str, Any]:
    """The metadata."""
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def makefile_targets() -> set[str]:
    """What `make` can be asked for."""
    return set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_the_two_commands_of_the_readme_are_the_makefiles() -> None:
    section = README[README.index("## Two commands") : README.index("## A first sweep file")]
    assert re.findall(r"^\$ make (\w+)", section, re.MULTILINE) == ["demo", "test"]
    assert {"demo", "test", "setup"} <= makefile_targets()


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_page_names_only_make_targets_that_exist(page: str) -> None:
    asked = set(re.findall(r"`make ([\w-]+)`", (ROOT / page).read_text()))
    assert asked
    assert asked <= makefile_targets()


def test_readme_goes_from_data_to_champion_in_six_commands() -> None:
    section = README[README.index("## From data to champion") :]
    first = section[section.index("```console\n") : section.index("```\n")]
    named = re.findall(r"^\$ velodrome (\w+)", first, re.MULTILINE)
    assert named == ["new", "plan", "sweep", "confirm", "promote", "serve"]


def test_readme_has_three_figures_that_stand_on_the_page_of_all() -> None:
    section = README[README.index("## Three figures") : README.index("## Documentation")]
    rows = [line for line in section.splitlines() if line.startswith("| ")][2:]
    figures = [re.findall(r"[\d.]+", row.split("|")[2]) for row in rows]
    assert len(figures) == 3
    page = (ROOT / "docs" / "performance.md").read_text()
    for numbers in figures:
        assert numbers
        assert any(all(n in line for n in numbers) for line in page.splitlines()), numbers


def test_readme_links_to_every_page_of_the_site() -> None:
    pages = set(NAV_PAGE.findall((ROOT / "mkdocs.yml").read_text()))
    assert pages == {path.name for path in (ROOT / "docs").glob("*.md")}
    assert pages == set(re.findall(r"\]\(docs/([\w-]+\.md)\)", README))


def test_license_is_the_one_of_the_metadata() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert project()["license"] == "Apache-2.0"
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert "The Velodrome authors" in text


def test_versions_of_the_changelog_go_down_to_the_first_and_hold_the_current() -> None:
    versions = re.findall(r"^## \[([\d.]+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert versions == sorted(
        versions, key=lambda text: [int(part) for part in text.split(".")], reverse=True
    )
    assert versions[-1] == "0.1.0"
    assert velodrome.__version__ in versions
    assert project()["version"] == velodrome.__version__


@pytest.mark.parametrize(("name", "command"), [("check", "scripts/check"), ("everything", "make test-all")])
def test_ci_runs_what_contributors_run(name: str, command: str) -> None:
    """What takes minutes each, as the notebook among the examples, runs each night."""
    workflow: Any = yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text())
    steps = workflow["jobs"][name]["steps"]
    assert [step["run"] for step in steps if "run" in step] == ["make setup", command]


def test_lock_names_all_that_is_installed() -> None:
    """The lock is installed without a look at what its packages need."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    locked = {canonicalize_name(line.partition("==")[0]) for line in lines}
    seen: set[tuple[str, str]] = set()
    waiting = [Requirement("velodrome[dev,docs]")]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        for extra in {"", *wanted.extras} - {extra for known, extra in seen if known == name}:
            seen.add((name, extra))
            needs = map(Requirement, metadata.requires(name) or ())
            waiting += [need for need in needs if not need.marker or need.marker.evaluate({"extra": extra})]
    # torch's own choice of platform: the lock has the one without CUDA
    needed = {name for name, _ in seen if not name.startswith(("nvidia", "cuda", "triton"))}
    assert needed - {"velodrome"} == locked


def _pythons() -> list[str]:
    return re.findall(r"Python :: (3\.\d+)$", "\n".join(project()["classifiers"]), re.MULTILINE)


@pytest.mark.parametrize("path", ["README.md", "docs/index.md"])
def test_pages_name_the_pythons_of_the_metadata(path: str) -> None:
    *others, last = _pythons()
    assert f"Python {', '.join(others)} or {last}" in (ROOT / path).read_text()


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda p: p.name
)
def test_issue_forms_are_yaml(path: Path) -> None:
    assert isinstance(yaml.safe_load(path.read_text()), dict)


def test_readmes_sweep_file_is_short() -> None:
    (text,) = blocks(ROOT / "README.md", "yaml")
    assert len(text.splitlines()) <= 10
