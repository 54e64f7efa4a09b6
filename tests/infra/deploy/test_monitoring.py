"""Alerts and dashboard ask for figures that there are, by labels that these have."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
MONITORING = ROOT / "infra" / "deploy" / "monitoring"
SOURCES = ("infra/serving/metrics.py", "infra/monitoring", "flows/upkeep/metrics.py")
ENDINGS = {
    "Counter": ("_total",),
    "CounterMetricFamily": ("_total",),
    "Histogram": ("_bucket", "_sum", "_count"),
}
OTHERS = {"node_textfile_mtime_seconds", "node_filesystem_avail_bytes"}  # node_exporter's own
# What Prometheus adds to each sample, and to a histogram's.
ADDED = {"instance", "job", "le"}
RULE = {"alert", "expr", "for", "labels", "annotations"}


@cache
def figures() -> dict[str, frozenset[str]]:
    """The names of all samples and their labels, as the code that makes them has it."""
    found = {}
    for source in SOURCES:
        place = ROOT / source
        for path in [place] if place.is_file() else sorted(place.glob("*.py")):
            found.update(_figures_of(ast.parse(path.read_text())))
    return found


def _figures_of(tree: ast.Module) -> Iterator[tuple[str, frozenset[str]]]:
    lists = {
        target.id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for call in ast.walk(tree):
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.args):
            continue
        name = call.args[0]
        if isinstance(name, ast.Constant) and str(name.value).startswith("velodrome_"):
            given = next((word.value for word in call.keywords if word.arg == "labels"), None)
            given = given or (call.args[2] if len(call.args) > 2 else None)
            given = lists.get(given.id) if isinstance(given, ast.Name) else given
            for ending in ENDINGS.get(call.func.id, ("",)):
                yield f"{name.value}{ending}", frozenset(_words(given, lists))


def _words(given: ast.expr | None, lists: dict[str, ast.List]) -> Iterator[str]:
    for part in given.elts if isinstance(given, ast.List) else ():
        if isinstance(part, ast.Constant):
            yield str(part.value)
        elif isinstance(part, ast.Starred) and isinstance(part.value, ast.Name):
            yield from _words(lists[part.value.id], lists)


def dashboard() -> Any:
    return json.loads((MONITORING / "dashboard.json").read_text())


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> list[str]:
    queries = [entry["query"] for entry in dashboard()["templating"]["list"] if entry["type"] == "query"]
    targets = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    return [*queries, *targets, *(rule["expr"] for rule in rules())]


def faults(expression: str) -> list[str]:
    """Names and labels in it that no figure has."""
    names = re.findall(r"\b(?:velodrome|node)_\w+", expression)
    known = set().union(*(figures().get(name, frozenset()) for name in names)) | ADDED
    used = re.findall(r"[{,]\s*(\w+)\s*[=!]", expression)
    used += [
        word
        for words in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression)
        for word in re.split(", *", words)
    ]
    wrong = [name for name in names if name not in figures() and name not in OTHERS]
    foreign = set(names) & OTHERS
    return wrong + [label for label in used if not foreign and label not in known]


def test_figures_are_read_off_the_code_with_their_labels() -> None:
    assert figures()["velodrome_requests_total"] == {"path", "status", "version"}
    assert figures()["velodrome_trials"] == {"sweep", "family", "state"}
    assert figures()["velodrome_drift"] == {"version", "what", "column"}
    assert len(figures()) > 30


@pytest.mark.parametrize("expression", expressions())
def test_expression_of_a_panel_asks_for_figures_that_there_are(expression: str) -> None:
    assert re.search(r"(?:velodrome|node)_\w+", expression)
    assert not faults(expression)
    assert all(expression.count(a) == expression.count(b) for a, b in ("()", "{}", "[]"))


@pytest.mark.parametrize(
    ("expression", "wrong"),
    [
        ("velodrome_requests > 0", "velodrome_requests"),
        ('velodrome_lanes{family="x"}', "family"),
        ("sum by (sweeps) (velodrome_lanes)", "sweeps"),
    ],
)
def test_figure_or_label_that_is_not_there_is_found(expression: str, wrong: str) -> None:
    assert faults(expression) == [wrong]


def test_rules_have_what_rules_may_have_and_tell_what_to_do() -> None:
    for rule in rules():
        assert set(rule) <= RULE
        assert set(rule["annotations"]) == {"summary", "description"}
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))


def test_panels_of_the_dashboard_lie_beside_each_other() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    covered: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert place["x"] + place["w"] <= 24
        assert not cells & covered
        covered |= cells
    names = {entry["name"] for entry in dashboard()["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(panels)))
    assert used <= names


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="there is no promtool (apt-get install prometheus)"
)
def test_promtool_takes_the_rules() -> None:
    ended = subprocess.run(["promtool", "check", "rules", MONITORING / "alerts.yaml"], capture_output=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
