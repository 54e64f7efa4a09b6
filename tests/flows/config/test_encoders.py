"""`options: {encoder: sweep:NAME}`: the best model that an earlier sweep has kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from flows.config.loading import load_sweep
from flows.config.resolving import resolve_families
from infra.errors import WrongInput
from infra.spec import FamilySpec, Objective
from tests.infra.tracking.story import Story, a_spec
from trainers.bundle.bundle import save_bundle
from trainers.data.sources.opening import open_dataset
from trainers.families.autoencoder import Autoencoder
from trainers.inputs.encoded_arrays import encode_dataset
from trainers.storage.atomic_folders import manifest_hash

SWEEP = """name: tuned
data: {source: builtin:digits}
families:
  image_cnn:
    options: {encoder: sweep:codes}
    %s
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VELODROME_HOME", str(tmp_path / "home"))
    return tmp_path


def write_autoencoder_sweep(folder: Path, models: bool = True) -> list[Path]:
    """A sweep `codes` whose second trial is the better one."""
    family = FamilySpec(name="autoencoder", reference="autoencoder")
    goals = (Objective(metric="val/mse", direction="minimize"),)
    story = Story(folder / "home", spec=a_spec("codes", families=(family,), objectives=goals))
    made = []
    for number, value in enumerate([0.2, 0.1]):
        trial = story.complete_trial("autoencoder", number, value=value, epochs=1)
        made.append(story.home.storage / "codes" / str(number))
        if models:
            a_bundle(made[-1], folder / "cache", channels=[4, 8 + number])
            trial.model = f"codes/{number}"
            story.tell("model", {"path": trial.model}, trial)
    story.conclude()
    story.ledger.close()
    return made


def a_bundle(folder: Path, cache: Path, **params: Any) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    family = Autoencoder()
    dataset = open_dataset({"source": "builtin:digits", "task": "reconstruction"}, base=cache, cache=cache)
    complete = family.complete({"dense": [8], **params})
    state = encode_dataset(family, dataset, complete, cache).state
    save_bundle(
        folder,
        family_reference="autoencoder",
        options={},
        params=complete,
        state=state,
        weights=family.build(state, complete).state_dict(),
        facts={},
        example_rows=family.example(dataset),
        row_hashes_of_train=dataset.row_hashes[:5],
    )


def resolve_tuned(folder: Path, more: str = "") -> Any:
    path = folder / "tuned.yaml"
    path.write_text(SWEEP % more)
    (family,) = resolve_families(load_sweep(path))
    return family


def test_encoder_from_sweep_is_its_best_model_with_hash(home: Path) -> None:
    _, best = write_autoencoder_sweep(home)
    family = resolve_tuned(home)
    assert family.options == {"encoder": str(best.resolve()), "encoder_sha256": manifest_hash(best)}
    searched = {entry["name"]: entry for entry in family.space["parameters"]}
    assert "learning_rate" in searched
    assert searched.get("channels", {"type": "constant"})["type"] == "constant"


def test_space_over_what_the_encoder_decides_is_refused(home: Path) -> None:
    write_autoencoder_sweep(home)
    with pytest.raises(WrongInput, match="channels"):
        resolve_tuned(home, "space: {extends: image_cnn, channels: {type: categorical, choices: [[4], [8]]}}")


def test_encoder_from_absent_or_modelless_sweep_is_refused(home: Path) -> None:
    with pytest.raises(WrongInput, match="must name a sweep here"):
        resolve_tuned(home)
    write_autoencoder_sweep(home, models=False)
    with pytest.raises(WrongInput, match="has kept a model"):
        resolve_tuned(home)
