"""Whoever calls a function of `velodrome` needs to know one tree of errors."""

from __future__ import annotations

import inspect
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import velodrome
from flows.commands import PLACES
from infra.errors import VelodromeError, WrongInput
from tests.flows.conftest import home
from tests.flows.promotion.conftest import Shop, dataset, kept_homes, rows, shop

__all__ = ["dataset", "home", "kept_homes", "rows", "shop"]

UNUSABLE: dict[str, tuple[Any, ...]] = {
    "adopt": ("nowhere",), "approve": ("nowhere/1",), "card": ("nowhere",), "compare": ("nowhere",),
    "compress": ("nowhere",), "confirm": ("nowhere",), "drift": ("nowhere", "logs"),
    "explain": ("nowhere", "rows.csv"), "export": ("nowhere",), "extend": ("nowhere",), "gc": (),
    "history": ("nowhere",), "inspect": ("nowhere",), "logs": ("nowhere",), "new": ("csv:nowhere.csv",),
    "plan": ("nowhere.yaml",), "policy": ("nowhere",), "predict": ("nowhere", "rows.csv"),
    "promote": ("nowhere",), "remove": ("nowhere",), "report": ("nowhere",), "reproduce": ("nowhere",),
    "retry": ("nowhere",), "rollback": ("nowhere",), "serve": ("nowhere",), "show": ("nowhere",),
    "status": ("nowhere",), "stop": ("nowhere",), "submit": ("nowhere.yaml",), "sweep": ("nowhere.yaml",),
    "families": ("nowhere",), "ui": ("nowhere",),
}  # fmt: skip
OPTIONS: dict[str, dict[str, Any]] = {
    "compress": {"trial": 1, "how": "int8"}, "explain": {"out": "out"}, "extend": {"trials": 1},
    "show": {"trial": 1},
    "submit": {"address": "http://127.0.0.1:9"}, "gc": {"older_than": "a fortnight"},
}  # fmt: skip


def _error_classes(above: type[VelodromeError] = VelodromeError) -> Iterator[type[VelodromeError]]:
    yield above
    for below in above.__subclasses__():
        yield from _error_classes(below)


@pytest.mark.parametrize("name", PLACES)
def test_errors_that_a_docstring_names_are_of_the_tree(name: str) -> None:
    text = inspect.getdoc(getattr(velodrome, name)) or ""
    lines = text.partition("Raises:\n")[2].splitlines()
    named = [
        word
        for line in lines
        if (found := re.match(r"    (\w[\w, ]*): ", line))
        for word in found[1].split(", ")
    ]
    known = {error.__name__ for error in _error_classes()}
    assert set(named) <= known
    assert named or name in ("schema", "doctor")


@pytest.mark.parametrize("name", UNUSABLE)
def test_unusable_argument_is_wrong_input(name: str, shop: Shop) -> None:
    Path("rows.csv").write_text("a\n1\n")
    with pytest.raises(WrongInput):
        getattr(velodrome, name)(*UNUSABLE[name], **OPTIONS.get(name, {}))


DATA = {
    "gone": None,
    "without the target": "a,b\n1,2\n",
    "of no table": "\x00\x01\x02",
    "of fewer rows": "a,b,label\n1,2,up\n",
}


@pytest.mark.parametrize("data", DATA)
def test_promotion_on_data_that_cannot_be_read_is_wrong_input(data: str, shop: Shop, tmp_path: Path) -> None:
    rows = tmp_path / "data" / "rows.csv"
    rows.parent.mkdir()
    shop.rows = rows
    shop.sweep("one")
    if (text := DATA[data]) is not None:
        rows.write_text(text)
    with pytest.raises(WrongInput) as refused:
        velodrome.promote("one", home=shop.home)
    assert refused.value.exit_code == 2


def test_public_function_travels_by_its_public_name() -> None:
    assert pickle.loads(pickle.dumps(velodrome.promote)) is velodrome.promote
    assert "dry_run" in inspect.signature(velodrome.promote).parameters
