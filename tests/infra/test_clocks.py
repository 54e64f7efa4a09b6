"""Durations and limits go by a clock that only passes: the time of day says when something was, no more."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Files have no other time; each takes a day or more for too long.
OF_FILES = {"trainers/storage/atomic_folders.py"}
OF_PEOPLE = {"flows/sweeps/views/status_screens.py"}  # how long ago, on a screen


def wall_clock_decisions(source: str) -> Iterator[int]:
    """Lines where a time of day, or a name that stands for one, is subtracted or compared."""
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    for function in functions:
        names = {name for node in ast.walk(function) for name in _names_of_time(node)}
        for node in ast.walk(function):
            if not isinstance(node, (ast.Compare, ast.BinOp)):
                continue
            if isinstance(node, ast.BinOp) and not isinstance(node.op, ast.Sub):
                continue
            if any(_is_time(part, names) for part in ast.iter_child_nodes(node)):
                yield node.lineno


def _names_of_time(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Assign):
        for target in node.targets:
            pairs = (
                zip(target.elts, node.value.elts, strict=False)
                if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
                else [(target, node.value)]
            )
            yield from (name.id for name, value in pairs if isinstance(name, ast.Name) and _is_call(value))


def _is_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in ("time.time", "datetime.now")


def _is_time(node: ast.AST, names: set[str]) -> bool:
    return _is_call(node) or (isinstance(node, ast.Name) and node.id in names)


@pytest.mark.parametrize("house", ["flows", "infra", "trainers", "search_spaces", "velodrome"])
def test_nothing_is_decided_by_the_time_of_day(house: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted((ROOT / house).rglob("*.py"))
        if str(path.relative_to(ROOT)) not in OF_FILES | OF_PEOPLE
        for line in wall_clock_decisions(path.read_text())
    ]
    assert found == []


def test_decision_by_the_time_of_day_is_found() -> None:
    assert list(wall_clock_decisions("def f():\n    began = time.time()\n    return time.time() - began\n"))
    assert list(wall_clock_decisions("def f():\n    a, b = 1, time.time()\n    return b > limit\n"))
    assert not list(
        wall_clock_decisions("def f():\n    at = time.time()\n    tell(at, time.monotonic() - b)\n")
    )
