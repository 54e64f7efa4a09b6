"""`options: {encoder: sweep:NAME}`, and `pretrained`: the best model that an earlier sweep has kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from flows.config.loading import load_sweep
from flows.config.resolving import resolve_families
from infra.errors import WrongInput
from infra.spec import FamilySpec, Objective
from tests.infra.tracking.story import Story, a_spec
from trainers.bundle.bundle import read_bundle, save_bundle
from trainers.data.sources.opening import open_dataset
from trainers.errors import InputError
from trainers.families.autoencoder import Autoencoder
from trainers.families.bert import Bert
from trainers.families.mlp import MLP
from trainers.family import Family
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
    return write_sweep(folder, Autoencoder(), models)


def write_sweep(folder: Path, family: Family, models: bool = True) -> list[Path]:
    spec = FamilySpec(name=family.name, reference=family.name)
    goals = (Objective(metric="val/mse", direction="minimize"),)
    story = Story(folder / "home", spec=a_spec("codes", families=(spec,), objectives=goals))
    made = []
    for number, value in enumerate([0.2, 0.1]):
        trial = story.complete_trial(family.name, number, value=value, epochs=1)
        made.append(story.home.storage / "codes" / str(number))
        if models:
            a_bundle(family, made[-1], folder / "cache", number)
            trial.model = f"codes/{number}"
            story.tell("model", {"path": trial.model}, trial)
    story.conclude()
    story.ledger.close()
    return made


DATA = {
    "autoencoder": {"source": "builtin:digits", "task": "reconstruction"},
    "mlp": {"source": "builtin:digits"},
    "bert": {"source": "builtin:docstrings", "task": "masked-words"},
}
BERT = {"width": 16, "heads": 2, "layers": 1, "feed_forward": 32, "vocabulary": 300}


def a_bundle(family: Family, folder: Path, cache: Path, number: int) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    dataset = open_dataset(DATA[family.name], base=cache, cache=cache)
    params = {
        "autoencoder": {"dense": [8], "channels": [4, 8 + number]},
        "mlp": {"hidden": [8]},
        "bert": BERT,
    }
    complete = family.complete(params[family.name])
    state = encode_dataset(family, dataset, complete, cache).state
    save_bundle(
        folder,
        family_reference=family.name,
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
    told = {name: family.begins_with[name] for name in ("sweep", "family", "number")}
    assert told == {"sweep": "codes", "family": "autoencoder", "number": 1}
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


# -- pretrained ----------------------------------------------------------------------------------------------


def resolve_pretrained(folder: Path, family: str, data: str) -> FamilySpec:
    path = folder / "tuned.yaml"
    path.write_text(
        f"name: tuned\ndata: {data}\nfamilies: {{{family}: {{options: {{pretrained: sweep:codes}}}}}}\n"
    )
    (found,) = resolve_families(load_sweep(path))
    return found


def test_pretrained_from_sweep_is_its_best_models_weights(home: Path) -> None:
    _, best = write_sweep(home, MLP())
    spec = resolve_pretrained(home, "mlp", "{source: builtin:digits}")
    assert spec.options["pretrained"] == str(best.resolve() / "weights.safetensors")
    family = MLP(spec.options)
    bundle = read_bundle(best)
    module = family.build(bundle.document["state"], bundle.document["params"])
    family.start(module)
    assert all(torch.equal(t, bundle.weights[name]) for name, t in module.state_dict().items())
    (best / "weights.safetensors").write_bytes(b"other")
    with pytest.raises(InputError, match="must have the hash"):
        family.start(module)


def test_pretrained_bert_of_masked_words_is_tuned_for_classes(home: Path) -> None:
    """Tokenizer, structure and every weight but the heads' are those of the sweep's best model."""
    _, best = write_sweep(home, Bert())
    spec = resolve_pretrained(home, "bert", "{source: builtin:docstrings}")
    assert spec.begins_with["number"] == 1
    searched = {entry["name"] for entry in spec.space["parameters"]}
    assert "learning_rate" in searched
    assert not searched & BERT.keys()
    again = resolve_pretrained(home, "bert", "{source: builtin:docstrings}")
    assert again.options == spec.options
    family, bundle = Bert(spec.options), read_bundle(best)
    dataset = open_dataset({"source": "builtin:docstrings"}, base=home, cache=home / "cache")
    params = family.complete({})
    state = encode_dataset(family, dataset, params, home / "cache").state
    assert state["tokenizer"] == bundle.document["state"]["tokenizer"]
    module = family.build(state, params)
    family.start(module)
    same = {
        n for n, t in module.state_dict().items() if n in bundle.weights and torch.equal(t, bundle.weights[n])
    }
    assert same == {name for name in bundle.weights if name.startswith("bert.")}
    assert any(name.startswith("classifier.") for name in module.state_dict().keys() - same)


def test_pretrained_from_absent_sweep_is_refused(home: Path) -> None:
    with pytest.raises(WrongInput, match=r"families\.mlp\.options\.pretrained must name a sweep here"):
        resolve_pretrained(home, "mlp", "{source: builtin:digits}")
