"""`options: {teacher: {model: …}}`: an earlier sweep's best model, or a registered one, held by hash."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.config.loading import load_sweep
from flows.config.resolving import resolve_families
from infra.errors import WrongInput
from infra.home import Home
from infra.spec import FamilySpec
from tests.flows.real_trials import train_and_write
from trainers.storage.atomic_folders import manifest_hash

TEACHER = """
name: large
data: {source: builtin:digits}
budget: {trials: 1, epochs: 2}
families: {mlp: {space: {hidden: [64], learning_rate: 0.01}}}
"""
STUDENT = """
name: small
data: {source: builtin:digits}
budget: {trials: 1, epochs: 2}
families:
  mlp:
    options: {teacher: {model: "%s", temperature: 3}}
    space: {hidden: [8], learning_rate: 0.01, teacher_weight: {type: float, low: 0.1, high: 0.9}}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A finished sweep `large` of one trial, whose model is kept."""
    folder = tmp_path_factory.mktemp("teachers")
    (folder / "large.yaml").write_text(TEACHER)
    train_and_write(Home(folder / "home"), folder / "large.yaml", {"hidden": [64], "learning_rate": 0.01})
    return Home(folder / "home")


def resolve(home: Home, written: str, monkeypatch: pytest.MonkeyPatch) -> FamilySpec:
    monkeypatch.setenv("VELODROME_HOME", str(home.path))
    file = home.path.parent / "small.yaml"
    file.write_text(STUDENT % written)
    (family,) = resolve_families(load_sweep(file))
    return family


def test_teacher_of_a_sweep_is_its_best_model_by_hash(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = resolve(home, "sweep:large", monkeypatch).options["teacher"]
    assert teacher["sha256"] == manifest_hash(Path(teacher["model"]))
    assert (teacher["version"], teacher["temperature"]) == ("large/mlp-0", 3)


def test_unknown_teachers_are_refused_with_the_line(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = {
        "sweep:other": "name a sweep here",
        "models:/large@champion": "nothing was ever promoted",
        "s3://bucket/model": "be a model here",
    }
    for written, message in cases.items():
        with pytest.raises(WrongInput, match=message) as caught:
            resolve(home, written, monkeypatch)
        assert "small.yaml" in str(caught.value)


def test_taught_trial_trains_as_a_lane_does(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VELODROME_HOME", str(home.path))
    file = home.path.parent / "small.yaml"
    file.write_text(STUDENT % "sweep:large")
    params = {"hidden": [8], "learning_rate": 0.01, "teacher_weight": 0.5}
    trial = train_and_write(home, file, params)
    assert trial.model is not None
    assert trial.metrics["val/accuracy"] > 0.3
