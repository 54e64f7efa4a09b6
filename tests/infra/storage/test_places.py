"""Where a trial's files stand, and what is read again from there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from infra.home import Home
from infra.ledger.rows import TrialRow
from infra.storage.checkpoints import CheckpointStore
from infra.storage.example_scores import TEST_SCORES, read_scores, write_scores
from infra.storage.paths import (
    family_folder,
    files_folder,
    kept_folder,
    log_name,
    logs_folder,
    samples_folder,
    trial_folder,
)
from infra.storage.trial_logs import find_log, written_logs_folder
from tests.infra.conftest import sweep

TRIAL = TrialRow(role="confirm", family="mlp", number=3, params={}, seed=1, state="complete")
SCORES = {"accuracy": torch.tensor([1.0, 0.0, 1.0]), "loss": torch.tensor([0.25, 0.5, 0.125])}


def test_places_of_a_trial_are_below_its_sweep_and_family() -> None:
    assert str(trial_folder("digits@2", "search", "mlp", 7)) == "digits@2/mlp/search-0007"
    places = [make("digits", "confirm", "mlp", 12) for make in (samples_folder, files_folder, kept_folder)]
    assert [str(place) for place in places] == [
        f"digits/mlp/confirm-0012/{name}" for name in ("samples", "files", "kept")
    ]
    assert str(logs_folder("digits")) == "digits/.logs"
    assert log_name("mlp", "search", 7, 2) == "mlp-0007-2.log"
    assert log_name("mlp", "confirm", 7, 2) == "confirm-mlp-0007-2.log"


@pytest.mark.parametrize("name", ["mlp", "image_cnn", "hb.plane", "a-1"])
def test_plain_family_name_is_its_folders(name: str) -> None:
    assert family_folder(name) == name


def test_other_family_names_have_folders_of_their_own() -> None:
    names = ["Mlp", "mlp/x", "mlp:x", "a" * 64, "ä", "../up"]
    folders = [family_folder(name) for name in names]
    assert len(set(folders)) == len(names)
    assert not set(folders) & set(names)
    assert all("/" not in folder and len(folder) <= 57 for folder in folders)


def test_log_is_found_where_it_is_written_now_and_where_it_was_before(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    own, shared = sweep(), sweep(storage=str(tmp_path / "shared"))
    assert written_logs_folder(home, own) == home.logs / "try"
    assert written_logs_folder(home, shared) == tmp_path / "shared" / "try" / ".logs"
    assert find_log(home, shared, "a.log") is None
    for folder in (home.logs / "try", tmp_path / "shared" / "try" / ".logs"):
        folder.mkdir(parents=True)
        (folder / "a.log").write_text("x")
        assert find_log(home, shared, "a.log") == folder / "a.log"


def test_scores_are_read_as_they_were_written_last(tmp_path: Path) -> None:
    trial = replace(TRIAL, facts={TEST_SCORES: "try/scores"})
    assert read_scores(tmp_path, trial) == {}
    write_scores(tmp_path / "try" / "scores", {"accuracy": torch.zeros(2)})
    write_scores(tmp_path / "try" / "scores", SCORES)
    found = read_scores(tmp_path, trial)
    assert {name: values.tolist() for name, values in found.items()} == {
        "accuracy": [1.0, 0.0, 1.0], "loss": [0.25, 0.5, 0.125],
    }  # fmt: skip
    assert {values.dtype.name for values in found.values()} == {"float64"}
    assert read_scores(tmp_path, TRIAL) == {}


def test_scores_outside_the_storage_are_not_read(tmp_path: Path) -> None:
    write_scores(tmp_path / "elsewhere", SCORES)
    outside = replace(TRIAL, facts={TEST_SCORES: "../elsewhere"})
    assert read_scores(tmp_path / "storage", outside) == {}
    assert read_scores(tmp_path, replace(TRIAL, facts={TEST_SCORES: "elsewhere"})) != {}


def test_checkpoint_that_is_loaded_tells_of_damaged_newer_ones(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=3)
    for step in (1, 2, 3):
        store.save({"weight": torch.full((2,), float(step))}, {"step": step})
    newest = store.paths()[-1]
    weights = newest / "tensors.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    found = store.load()
    assert found is not None
    assert (found.document, found.path) == ({"step": 2}, store.paths()[-2])
    assert len(found.damaged) == 1
    assert newest.name in found.damaged[0]
    assert [path.name[:8] for path in store.paths()] == ["00000001", "00000002", "00000003"]
