"""The digest of a notebook's function: it changes with all that the function uses of the cells around it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from trainers.code.function_digest import function_digest

CELLS = """
import json
import numpy as np
import near_notebook

RATE = 0.1
WIDTHS = [16, 32]
TABLE = np.arange(3)
UNUSED = 1

def deeper(x):
    return x * RATE

def helper(x):
    return deeper(x) + 1

class Base:
    def size(self):
        return 3

class Net(Base):
    def forward(self, x):
        return helper(x) * len(WIDTHS)

def train(trial):
    net = Net()
    trial.report(score=near_notebook.score(net.forward(json.loads("1"))) + TABLE.sum())
"""


def digest(text: str) -> str:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(text, "<cell>", "exec"), names)
    function = names["train"]
    assert isinstance(function, FunctionType)
    return function_digest(function)


@pytest.fixture(autouse=True)
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module of people's own, beside the notebook."""
    path = tmp_path / "near_notebook.py"
    path.write_text("def score(x):\n    return x\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "near_notebook", raising=False)
    return path


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("RATE = 0.1", "RATE = 0.2"),
        ("[16, 32]", "[16, 64]"),
        ("deeper(x) + 1", "deeper(x) + 2"),
        ("x * RATE", "x / RATE"),
        ("return 3", "return 4"),
        ("helper(x) *", "helper(x) -"),
        ("net.forward", "-net.forward"),
    ],
)
def test_change_of_what_a_notebooks_function_uses_gives_another_digest(before: str, now: str) -> None:
    assert before in CELLS
    assert digest(CELLS.replace(before, now)) != digest(CELLS)


@pytest.mark.parametrize(
    ("before", "now"), [("UNUSED = 1", "UNUSED = 2"), ("np.arange(3)", "np.arange(4)"), ("", "# a comment\n")]
)
def test_change_of_what_it_does_not_use_or_of_its_data_gives_the_same_digest(before: str, now: str) -> None:
    assert digest(CELLS.replace(before, now, 1)) == digest(CELLS)


def test_module_beside_the_notebook_is_its_source_too(beside: Path) -> None:
    first = digest(CELLS)
    beside.write_text("def score(x):\n    return -x\n")
    assert digest(CELLS) != first


def test_value_that_is_closed_over_is_its_source() -> None:
    def make(rate: float) -> FunctionType:
        def train(trial: Any) -> None:
            trial.report(score=rate)

        return train

    assert function_digest(make(0.1)) == function_digest(make(0.1))
    assert function_digest(make(0.1)) != function_digest(make(0.2))


def test_functions_that_call_each_other_have_a_digest() -> None:
    text = (
        "def one(x):\n    return other(x)\n\ndef other(x):\n    return one(x)\n\ndef train(t):\n    one(t)\n"
    )
    assert digest(text) == digest(text)
    assert digest(text) != digest(text.replace("return one(x)", "return -one(x)"))
