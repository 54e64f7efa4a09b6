"""From a name to a model: a champion before a sweep, a sweep with a warning, nothing outside the storage."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from flows.inference.model_lookup import choose_model, fetch_artifact
from infra.errors import Unavailable, WrongInput
from infra.serving.artifact import load_artifact
from infra.spec import FamilySpec
from tests.flows.real_trials import change_facts
from tests.infra.serving.registry_with_models import RegistryFixture, a_bundle
from tests.infra.tracking.story import SPACE, Story, a_spec


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A linear model."""
    folder = tmp_path_factory.mktemp("bundle")
    return a_bundle("linear_regression", folder / "one", folder / "cache")


def make_sweep(folder: Path, bundle: Path | None, name: str = "prices") -> Story:
    """A finished sweep of two trials, the second better; both with a model where there is one."""
    family = FamilySpec(name="linear_regression", reference="linear_regression", space=SPACE)
    story = Story(folder / "home", spec=a_spec(name, families=(family,)))
    for number, value in enumerate([0.8, 0.9]):
        trial = story.complete_trial("linear_regression", number, value=value, epochs=1)
        if bundle is not None:
            trial.model = f"prices/{number}"
            (story.home.storage / "prices").mkdir(parents=True, exist_ok=True)
            shutil.copytree(bundle, story.home.storage / trial.model)
            story.tell("model", {"path": trial.model}, trial)
    story.conclude()
    return story


@pytest.mark.parametrize("name", ["prices", "prices@1"])
def test_lookup_of_sweep_finds_best_trial_and_warns_unpromoted(
    name: str, bundle: Path, tmp_path: Path
) -> None:
    story = make_sweep(tmp_path, bundle)
    chosen = choose_model(name, story.home)
    assert chosen.artifact is not None
    assert chosen.artifact.key == "prices/linear_regression-1"
    assert "linear_regression #1, which nobody promoted" in chosen.warning
    assert load_artifact(fetch_artifact(chosen, story.home)).example is not None


def test_lookup_prefers_champion_to_sweep_of_the_same_name(bundle: Path, tmp_path: Path) -> None:
    story = make_sweep(tmp_path, bundle)
    registered = RegistryFixture(tmp_path)
    registered.add("prices", bundle)
    before = choose_model("prices", story.home)
    assert before.version is None
    assert "no registered model prices has a champion" in before.warning
    registered.move("prices", "champion", 1)
    after = choose_model("prices", story.home)
    assert (after.version and after.version.label, after.follows, after.warning) == (
        "prices/1",
        "champion",
        "",
    )
    assert fetch_artifact(after, story.home).bundle
    assert choose_model("prices/1", story.home).follows is None


def test_lookup_of_sweep_without_reachable_model_is_refused(bundle: Path, tmp_path: Path) -> None:
    story = make_sweep(tmp_path, None)
    with pytest.raises(WrongInput, match="champion"):
        choose_model("prices", story.home)
    trial = story.complete_trial("linear_regression", 2, value=0.99, epochs=1)
    trial.model = f"../../{bundle.name}"
    story.tell("model", {"path": trial.model}, trial)
    with pytest.raises(Unavailable, match="is not there"):
        choose_model("prices", story.home)


@pytest.mark.parametrize("name", ["nothing", "nothing@champion", "nothing/1", f"models:/m-{'0' * 32}"])
def test_lookup_in_empty_home_is_refused_and_creates_nothing(name: str, tmp_path: Path) -> None:
    from infra.home import Home

    with pytest.raises(WrongInput):
        choose_model(name, Home(tmp_path / "home"))
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("registered", [False, True])
def test_lookup_finds_the_code_that_the_sweep_was_run_with(
    registered: bool, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder comes last, in this process and in those that it starts; one that is gone is left out."""
    story = make_sweep(tmp_path, bundle)
    if registered:
        models = RegistryFixture(tmp_path)
        models.add("prices", bundle)
        models.move("prices", "champion", 1)
        models.client.call("set_model_version_tag", "prices", "1", "velodrome.sweep", "prices")
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setattr(sys, "path", list(sys.path))
    root = tmp_path / "own"
    change_facts(story.home, "prices", own_code=str(root))
    choose_model("prices", story.home)
    assert str(root) not in sys.path
    root.mkdir()
    choose_model("prices", story.home)
    assert (sys.path[-1], os.environ["PYTHONPATH"]) == (str(root), f"elsewhere{os.pathsep}{root}")
