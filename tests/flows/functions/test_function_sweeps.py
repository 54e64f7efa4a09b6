"""Sweeps of a function or a mapping, as a notebook gives them: what they come to, without Ray."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import numpy as np
import pytest
import yaml

import velodrome
from flows.config.loading import load_sweep
from flows.functions.documents import function_document
from flows.functions.mappings import mapping_text
from flows.sweeps.plan import plan
from flows.sweeps.preparation import file_facts, prepare_sweep
from infra.errors import WrongInput
from infra.home import Home
from infra.names import family_label, spell_family
from trainers.code import carried
from trainers.code.carried import carry_function, find_carried, pack_carried, unpack_carried
from trainers.errors import InputError
from trainers.registry import load_reference, source_hash

FACTOR = 3
SPACE = {"rate": velodrome.loguniform(1e-4, 1e-1), "width": [32, 64], "depth": 2}


def importable(trial: Any) -> None:
    trial.report(score=1.0)


@pytest.fixture(autouse=True)
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(carried, "_FUNCTIONS", {})


def cell(source: str, name: str = "train") -> Any:
    """A function as a notebook's cell defines it: of `__main__`, in no file."""
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(source, space)
    return space[name]


CELL = "def train(trial):\n    trial.report(score=trial.params['rate'])\n"


def test_function_of_a_module_is_named_and_its_folder_is_the_root() -> None:
    document = function_document(importable, space=SPACE, objective="score", direction="maximize", trials=7)
    (reference,) = document["families"]
    assert reference == f"{__name__}:importable"
    assert Path(document["code"]["root"], *__name__.split(".")).with_suffix(".py").is_file()
    assert document["budget"] == {"trials": 7}
    space = document["families"][reference]["space"]
    assert space["rate"] == {"type": "float", "low": 1e-4, "high": 0.1, "log": True}
    assert space["width"] == {"type": "categorical", "choices": [32, 64]}
    assert space["depth"] == 2


def test_function_of_a_cell_travels_by_value_and_by_no_file(tmp_path: Path) -> None:
    document = function_document(cell(CELL), space=SPACE, objective="score", direction="maximize")
    prepared = prepare_sweep(document, [], Home(tmp_path / "home"))
    (family,) = prepared.spec.families
    assert (family.name, family.reference) == ("train", "__main__:train")
    packed = pack_carried([family.reference])
    carried._FUNCTIONS.clear()
    with pytest.raises(InputError, match=r"give it to velodrome\.sweep there"):
        load_reference(family.reference)
    unpack_carried(packed)
    assert load_reference(family.reference).__code__.co_names  # type: ignore[union-attr]
    assert "def train" not in prepared.file.text
    assert list(tmp_path.iterdir()) == []


def test_carried_function_takes_what_it_uses_with_it() -> None:
    local = 2

    def train(trial: Any) -> int:
        return local * FACTOR + int(trial)

    carry_function(train)
    packed = pack_carried(["__main__:train", "mlp"])
    assert set(packed) == {"__main__:train"}
    assert cloudpickle.loads(packed["__main__:train"])(1) == 7
    assert find_carried("__main__:other") is None


def test_changed_cell_is_another_source_and_a_comment_is_none() -> None:
    hashes = []
    for text in (CELL, CELL.replace("rate", "width")):
        hashes.append(source_hash(carry_function(cell(text))))
    assert hashes[0] != hashes[1]

    def train(trial: Any) -> None:
        trial.report(score=1.0)

    first = source_hash(carry_function(train))

    def train(trial: Any) -> None:  # type: ignore[no-redef]
        # a comment alone
        trial.report(score=1.0)

    assert source_hash(carry_function(train)) == first


@pytest.mark.parametrize(
    ("given", "how", "said"),
    [
        (lambda trial: None, {}, "must have a name"),
        (len, {}, "a file, a mapping or a function"),
        (importable, {"objective": None}, "must name its objective"),
        (importable, {"space": ["lr"]}, r"space must be a mapping of parameters by name; but got \['lr'\]"),
    ],
)
def test_object_that_cannot_be_swept_is_refused(given: Any, how: dict[str, Any], said: str) -> None:
    with pytest.raises(WrongInput, match=said):
        function_document(given, **{"space": SPACE, "objective": "score", **how})


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def train(trial, data): pass", r"must take one argument, the trial; but got train\(trial, data\)"),
        ("async def train(trial): pass", "an async function"),
        ("def train(trial): yield trial", "a generator"),
    ],
)
def test_function_that_no_trial_can_train_is_refused_before_lanes_are_made(
    tmp_path: Path, source: str, said: str
) -> None:
    document = function_document(cell(source), space=SPACE, objective="score", direction="minimize")
    with pytest.raises(WrongInput, match=said):
        prepare_sweep(document, [], Home(tmp_path / "home"))


def test_mapping_is_the_file_and_keeps_numpys_numbers(tmp_path: Path) -> None:
    twice = {"type": "float", "low": np.float64(1e-5), "high": 1.0}
    given = {
        "name": "given", "data": {"source": "builtin:digits"},
        "families": {"mlp": {"space": {"learning_rate": twice, "dropout": {**twice, "high": 0.5}}}},
        "budget": {"trials": np.int64(3)}, "storage": tmp_path,
    }  # fmt: skip
    file = load_sweep(given, ["budget.epochs=2"])
    assert (file.name, file.path) == ("given", tmp_path / "given.yaml")
    assert yaml.safe_load(file.text)["budget"] == {"trials": 3}
    assert file.sweep.families["mlp"] is not None
    assert not file.path.exists()
    same = twice["low"]
    assert "&" not in mapping_text({"a": [same, same], "b": twice, "c": twice})


def test_wrong_key_of_a_mapping_is_named_without_a_line() -> None:
    with pytest.raises(WrongInput) as caught:
        load_sweep({"name": "given", "data": {"source": "none"}, "familes": {}})
    assert "the mapping: familes must" in str(caught.value)
    assert "line" not in str(caught.value)
    with pytest.raises(WrongInput, match="texts, numbers, lists"):
        load_sweep({"name": "given", "data": {"source": object()}})


def test_settings_of_a_function_are_refused_beside_a_file() -> None:
    with pytest.raises(WrongInput, match="trials must come with a function"):
        velodrome.sweep({"name": "given"}, trials=3)


def test_plan_runs_a_function_of_a_cell_here(tmp_path: Path) -> None:
    found = plan(
        cell(CELL), space={"rate": velodrome.uniform(0.0, 1.0)}, objective="score", direction="maximize",
        trials=4, epochs=2, home=Home(tmp_path / "home"),
    )  # fmt: skip
    assert [family.family for family in found.families] == ["train"]
    assert found.trials == 4
    assert "<td style='text-align:left'>train</td>" in found._repr_html_()


def test_label_of_a_cells_function_is_its_name() -> None:
    assert family_label("__main__:train") == "train"
    assert spell_family("__main__:train") == "train"


def test_ledger_keeps_what_a_mapping_comes_to(tmp_path: Path) -> None:
    document = function_document(importable, space=SPACE, objective="score", direction="maximize")
    facts = file_facts(prepare_sweep(document, [], Home(tmp_path / "home")))
    assert yaml.safe_load(str(facts["file_text"])) == document


def test_ranges_are_those_of_a_sweep_file() -> None:
    assert velodrome.integers(1, 8, log=True) == {"type": "int", "low": 1, "high": 8, "log": True}
    assert velodrome.choice(["a", "b"]) == {"type": "categorical", "choices": ["a", "b"]}
