"""`new` for an Optuna objective: from its code to a sweep file that loads."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from flows.config.loading import load_sweep
from flows.config.resolving import resolve_sweep
from flows.sweeps.new import find_sweep_file, new
from search_spaces.space import Space

MODULE = """
def objective(trial):
    rate = trial.suggest_float("rate", 1e-05, 1e-1, log=True)
    if trial.suggest_categorical("booster", ["tree", "off", None]) == "tree":
        trial.suggest_int("depth", 1, 9)
    trial.report(rate, 0)

def run():
    study = optuna.create_study(direction="maximize")
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    (tmp_path / "traced_mod.py").write_text(MODULE)
    return "traced_mod:objective"


def test_the_file_of_an_objective_loads_with_its_space_and_direction(module: str) -> None:
    written = new(module)
    assert (written.path.name, written.families) == ("traced-mod-objective.yaml", (module,))
    spec = resolve_sweep(load_sweep(written.path))
    assert (spec.objectives[0].metric, spec.objectives[0].direction) == ("val/value", "maximize")
    rate, booster, depth = Space.from_json(spec.families[0].space).parameters
    assert rate.to_json() == {"name": "rate", "type": "float", "low": 1e-05, "high": 0.1, "log": True}
    assert booster.to_json()["choices"] == ["tree", "off", None]
    assert depth.to_json()["when"] == {"booster": ["tree"]}


@pytest.mark.parametrize(
    ("study", "directions"),
    [
        ("directions=['minimize', 'maximize']", ["minimize", "maximize"]),
        ("directions=('maximize',)", ["minimize", "minimize"]),  # of another objective
        ("direction='maximize'", ["minimize", "minimize"]),
    ],
)
def test_the_file_of_an_objective_of_two_numbers_has_two_goals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, study: str, directions: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    name = f"two_mod_{abs(hash(study))}"
    body = "def both(trial):\n    x = trial.suggest_uniform('x', 0, 5)\n    return x ** 2, (x - 2) ** 2\n"
    (tmp_path / f"{name}.py").write_text(f"{body}\ndef run():\n    optuna.create_study({study})\n")
    spec = resolve_sweep(load_sweep(new(f"{name}:both").path))
    assert [goal.metric for goal in spec.objectives] == ["val/value_0", "val/value_1"]
    assert [goal.direction for goal in spec.objectives] == directions


def test_a_sweep_of_an_objective_takes_the_file_that_is_there(module: str) -> None:
    first = find_sweep_file(module)
    first.write_text(first.read_text() + "# mine\n")
    assert find_sweep_file(module).read_text().endswith("# mine\n")


def test_a_path_stays_a_sweep_file(tmp_path: Path) -> None:
    assert find_sweep_file(tmp_path / "a.yaml") == tmp_path / "a.yaml"
