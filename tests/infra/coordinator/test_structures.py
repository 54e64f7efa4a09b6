"""The structures of trials, found by their families' code."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from infra.coordinator.shell import structures
from infra.coordinator.shell.structures import Structures
from infra.spec import FamilySpec
from tests.infra.conftest import family

LINEAR = {"learning_rate": 0.1, "optimizer": "sgd"}


def builtin() -> FamilySpec:
    return family("mlp", reference="mlp")


def test_structure_is_that_of_what_is_no_number_and_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found, loads = Structures(), list[str]()
    real = structures.load_reference
    monkeypatch.setattr(structures, "load_reference", lambda name: loads.append(name) or real(name))
    keys = [
        found.find_structure(builtin(), params)
        for params in (
            {"learning_rate": 0.1}, {"learning_rate": 0.2}, {"learning_rate": 0.1, "hidden": [3]},
            {"learning_rate": 0.1},
        )
    ]  # fmt: skip
    assert keys[0] is not None
    assert keys[0] == keys[1] == keys[3] != keys[2]
    assert loads == ["mlp"]


@pytest.mark.parametrize("reference", ["__main__:train", "no_such_module:train", "json:dumps"])
def test_trial_whose_family_is_not_known_here_is_trained_alone(reference: str) -> None:
    """A function travels to lanes alone, a module may be missing, and a function is no class of a family."""
    found = Structures()
    asked = family("own", reference=reference)
    assert [found.find_structure(asked, LINEAR) for _ in range(2)] == [None, None]


def test_family_is_imported_from_the_folders_of_the_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_mlp.py").write_text("from trainers.families.mlp import MLP\n\nclass Own(MLP): ...\n")
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = list(sys.path)
    folders = (str(tmp_path), known[-1])
    assert Structures(folders).find_structure(family("own", reference="own_mlp:Own"), LINEAR) is not None
    assert sys.path == [*known, str(tmp_path)]
