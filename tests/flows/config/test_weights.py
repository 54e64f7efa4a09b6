"""The hashes of what families begin with: files, folders, and choices among them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from flows.config import weights
from flows.config.weights import hash_weights
from flows.sweeps.compatibility import compare_specs
from infra.spec import FamilySpec
from search_spaces.space import Space
from tests.infra.conftest import family, sweep


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model as transformers writes it."""
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / "one" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "one" / name).write_text(name)
    return tmp_path / "one"


@pytest.mark.parametrize(
    "changed", ["config.json", "model.safetensors", "tokenizer.json", "added_tokens.json"]
)
def test_hash_of_a_folder_changes_with_each_of_its_files(folder: Path, changed: str) -> None:
    options = {"pretrained": str(folder)}
    before = hash_weights("bert", options, {})
    assert list(before) == [str(folder)]
    assert hash_weights("bert", options, {}) == before
    (folder / changed).write_text("other")
    assert hash_weights("bert", options, {}) != before


def test_models_that_a_space_chooses_among_are_hashed_each(folder: Path) -> None:
    other = folder.with_name("two")
    other.mkdir()
    (other / "config.json").write_text("{}")
    space = Space.from_mapping({"auto": {"type": "categorical", "choices": [str(folder), str(other)]}})
    found = hash_weights("bert", {}, space.to_json())
    assert set(found) == {str(folder), str(other)}
    assert len(set(found.values())) == 2


@pytest.mark.parametrize(
    ("reference", "options"),
    [
        ("bert", {"pretrained": "model.safetensors", "sha256": "0" * 64}),
        ("image_cnn", {"encoder": "bundle", "encoder_sha256": "0" * 64}),
        ("mlp", {}),
        ("tests.flows.config.test_weights:train", {}),
    ],
)
def test_nothing_is_hashed_where_training_checks_or_there_is_nothing(
    reference: str, options: Mapping[str, Any]
) -> None:
    space = Space.from_mapping({"pretrained": {"type": "categorical", "choices": ["imagenet", "none"]}})
    assert hash_weights(reference, options, space.to_json() if ":" in reference else {}) == {}


def train(trial: Any) -> None:
    """A function whose own parameter is called `pretrained`."""


def test_weights_that_are_not_there_have_an_empty_hash() -> None:
    assert hash_weights("mlp", {"pretrained": "absent.safetensors"}, {}) == {"absent.safetensors": ""}


def test_large_file_is_read_again_once_it_has_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_LARGE_BYTES", 1)
    options = {"pretrained": str(folder)}
    before = hash_weights("bert", options, {})
    assert hash_weights("bert", options, {}) == before
    (folder / "model.safetensors").write_text("another length")
    assert hash_weights("bert", options, {}) != before


def test_sweep_that_would_go_on_with_other_weights_is_refused() -> None:
    def begun_with(**hashes: str) -> FamilySpec:
        return family("x", options={"pretrained": "w"}, weights=hashes)

    before, now = begun_with(w="a"), begun_with(w="b")
    assert compare_specs(sweep(before), sweep(now)).refused == ("families.x.weights.w: a → b",)
    assert compare_specs(sweep(before), sweep(before)).refused == ()
    of_before = begun_with()  # sweeps of earlier versions say nothing of weights
    assert compare_specs(sweep(of_before), sweep(now)).refused == ()
