"""Docstrings name what is there: arguments that functions take, attributes that classes have."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HOUSE = ("velodrome", "flows", "infra", "trainers", "search_spaces")
FILES = sorted(path for folder in HOUSE for path in (ROOT / folder).rglob("*.py"))
CLASS = 'class C:\n    """X.\n\n    Attributes:\n        {}\n    """\n    y: int'
Function = ast.FunctionDef | ast.AsyncFunctionDef


def section_names(docstring: str, heading: str) -> list[str]:
    """The names that a section of a Google-style docstring explains, `a, b: …` giving two."""
    lines = docstring.expandtabs().splitlines()
    starts = [at for at, line in enumerate(lines) if line.strip() == f"{heading}:"]
    if not starts:
        return []
    inside = len(lines[starts[0]]) - len(lines[starts[0]].lstrip()) + 4
    names: list[str] = []
    for line in lines[starts[0] + 1 :]:
        indent = len(line) - len(line.lstrip())
        if line.strip() and indent < inside:
            break
        entry = re.match(r"\*{0,2}\w+(?:, \*{0,2}\w+)*(?=:)", line.strip())
        if indent == inside and entry:
            names += [name.lstrip("*") for name in entry[0].split(", ")]
    return names


def parameters(function: Function) -> set[str]:
    """Every name that a call may fill."""
    given = function.args
    every = [*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg]
    return {argument.arg for argument in every if argument is not None}


def attributes(node: ast.ClassDef) -> set[str]:
    """Fields, properties, methods, and what methods set on themselves."""
    found: set[str] = set()
    for inner in ast.walk(node):
        if isinstance(inner, ast.AnnAssign | ast.Assign):
            targets = inner.targets if isinstance(inner, ast.Assign) else [inner.target]
            for target in targets:
                found |= {leaf.id for leaf in ast.walk(target) if isinstance(leaf, ast.Name)}
                found |= {leaf.attr for leaf in ast.walk(target) if isinstance(leaf, ast.Attribute)}
        elif isinstance(inner, ast.FunctionDef):
            found.add(inner.name)
    return found


def unknown_names(text: str) -> Iterator[str]:
    """What the docstrings of a module explain that is not there."""
    tree = ast.parse(text)
    classes = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    for node in ast.walk(tree):
        if isinstance(node, Function):
            for name in section_names(ast.get_docstring(node) or "", "Args"):
                if name not in parameters(node):
                    yield f"line {node.lineno}: {node.name} has no argument {name}"
        elif isinstance(node, ast.ClassDef):
            bases = [
                classes[base.id] for base in node.bases if isinstance(base, ast.Name) and base.id in classes
            ]
            inherits = len(bases) < len(node.bases)
            known = set().union(*(attributes(each) for each in [node, *bases]))
            for name in section_names(ast.get_docstring(node) or "", "Attributes"):
                if name not in known and not inherits:
                    yield f"line {node.lineno}: {node.name} has no attribute {name}"


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(ROOT)) for path in FILES])
def test_docstring_sections_name_what_is_there(path: Path) -> None:
    assert list(unknown_names(path.read_text())) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('def f(a):\n    """X.\n\n    Args:\n        b: no.\n    """', ["line 1: f has no argument b"]),
        ('def f(a, b):\n    """X.\n\n    Args:\n        a, b: yes: both.\n    """', []),
        (CLASS.format("x: no."), ["line 1: C has no attribute x"]),
        (CLASS.format("y: yes.\n            z: as in text."), []),
    ],
)  # fmt: skip
def test_docstring_check_finds_names_that_are_not_there(text: str, found: list[str]) -> None:
    assert list(unknown_names(text)) == found
