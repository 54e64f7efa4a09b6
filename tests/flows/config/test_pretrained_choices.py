"""A space may choose among models to begin with: `space: {pretrained: {type: categorical, choices: …}}`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from flows.config.loading import load_sweep
from flows.config.resolving import resolve_families
from infra.errors import WrongInput
from infra.home import Home
from infra.spec import FamilySpec
from search_spaces.space import Space
from tests.flows.real_trials import train_and_write
from tests.trainers.families.cases import texts
from tests.trainers.families.test_bert import TinyBert, model
from tests.trainers.pretrained.test_pretrained_try_out import BERT
from trainers.bundle.bundle import load_bundle
from trainers.families.bert import Bert
from trainers.family import Family


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Two models of different widths."""
    monkeypatch.setenv("VELODROME_HOME", str(tmp_path / "home"))
    document = TinyBert(texts()).state["tokenizer"]
    configs = [{**BERT, "hidden_size": width} for width in (16, 32)]
    return [str(model(tmp_path / f"m{i}", config, document=document)) for i, config in enumerate(configs)]


def write_sweep(folder: Path, choices: list[Any], **options: Any) -> Path:
    space = {"extends": "bert", "pretrained": {"type": "categorical", "choices": choices}}
    entry = {"space": space, "options": {"max_tokens": 8, **options}}
    document = {"name": "chosen", "data": {"source": "builtin:docstrings"}, "families": {"bert": entry}}
    document["budget"] = {"trials": 1, "epochs": 1}
    path = folder / "chosen.yaml"
    path.write_text(json.dumps(document))
    return path


def resolve(folder: Path, choices: list[Any], **options: Any) -> FamilySpec:
    (found,) = resolve_families(load_sweep(write_sweep(folder, choices, **options)))
    return found


def test_space_over_folders_searches_them_and_no_structure(folders: list[str], tmp_path: Path) -> None:
    spec = resolve(tmp_path, folders)
    searched = {entry["name"]: entry for entry in spec.space["parameters"]}
    assert searched["pretrained"]["choices"] == folders
    assert "learning_rate" in searched
    assert not searched.keys() & {"width", "heads", "layers", "vocabulary"}
    drawn = {params["pretrained"] for params in Space.from_json(spec.space).sobol(8, 0)}
    assert drawn == set(folders)


@pytest.mark.parametrize("at", [0, 1])
def test_trial_begins_with_the_folder_that_it_was_given(folders: list[str], tmp_path: Path, at: int) -> None:
    file = write_sweep(tmp_path, folders)
    params = {"pretrained": folders[at], "learning_rate": 1e-6, "optimizer": "sgd"}
    trial = train_and_write(Home.from_environment(), file, params)
    assert trial.state == "complete", trial.reason
    predictor = load_bundle(Home.from_environment().storage / str(trial.model))
    assert predictor.document["state"]["config"]["hidden_size"] == (16, 32)[at]
    assert "pretrained" not in predictor.document["params"]
    family = Bert({"pretrained": folders[at]})
    begun = family.build(predictor.document["state"], predictor.document["params"])
    family.start(begun)
    name = "bert.embeddings.word_embeddings.weight"
    torch.testing.assert_close(
        predictor.module.state_dict()[name], begun.state_dict()[name], atol=1e-4, rtol=0
    )


@pytest.mark.parametrize(
    ("choices", "options", "words"),
    [
        (["here", "nowhere at all"], {}, "must fit the family: pretrained must be a folder that exists"),
        (["here", 3], {}, "must choose among models; but got 3"),
        (["here", "w.safetensors"], {}, "must choose among models"),
        (["here"], {"sha256": "0" * 64}, r"must stand without options\.sha256"),
        (["here"], {"pretrained": "here"}, "must not stand in options too"),
    ],
)
def test_choices_that_cannot_be_begun_with_are_refused(
    folders: list[str], tmp_path: Path, choices: list[Any], options: dict[str, Any], words: str
) -> None:
    named = [folders[0] if choice == "here" else choice for choice in choices]
    with pytest.raises(WrongInput, match=words):
        resolve(tmp_path, named, **options)


def test_family_without_choices_is_its_own_for_every_trial() -> None:
    family: Family = Bert()
    assert family.of_trial({"learning_rate": 0.1}) is family
