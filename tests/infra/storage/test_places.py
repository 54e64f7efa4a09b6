"""Where a trial's files stand, and what is read again from there."""

from __future__ import annotations

import errno
import hashlib
import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from infra import bucket
from infra.errors import StorageUnavailable
from infra.home import Home, storage_place
from infra.ledger.rows import TrialRow
from infra.mirror import discard, publish
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
from infra.storage.sealed_folders import folder_contents, list_folder, seal_folder
from infra.storage.trial_logs import find_log, written_logs_folder
from tests.infra.conftest import sweep
from tests.infra.object_store import ObjectStore, running_store
from trainers.storage import atomic_folders
from trainers.storage.machine import machine_id

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


@pytest.fixture
def objects(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    monkeypatch.setattr(bucket, "ATTEMPTS", 2)
    monkeypatch.setattr(bucket, "PAUSES_S", (0.0, 0.0))
    with running_store(monkeypatch) as made:
        yield made


@pytest.mark.usefixtures("objects")
def test_scores_and_logs_of_another_machine_come_from_the_bucket_as_it_has_them(tmp_path: Path) -> None:
    url = "s3://models/team/a"
    homes = Home(tmp_path / "a"), Home(tmp_path / "b")
    here, there = (storage_place(home, url) for home in homes)
    trial, spec = replace(TRIAL, facts={TEST_SCORES: "try/scores"}), sweep(storage=url)
    write_scores(here / "try" / "scores", SCORES)
    publish(here / "try" / "scores")
    assert read_scores(there, trial)["loss"].tolist() == [0.25, 0.5, 0.125]
    discard(here / "try" / "scores")
    assert read_scores(there, trial) == {}  # a copy of what was removed elsewhere does not count
    log = written_logs_folder(homes[0], spec) / "a.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("said")
    publish(log)
    found = find_log(homes[1], spec, "a.log")
    assert found is not None
    assert found.read_text() == "said"


def test_checkpoints_are_one_unless_more_are_asked_for_and_go_with_what_died_beside_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = CheckpointStore(tmp_path / "trial")
    names = [store.save({}, {"step": step}).name[:8] for step in (1, 2)]
    assert names == ["00000001", "00000002"]
    assert [path.name[:8] for path in store.paths()] == ["00000002"]
    dead = tmp_path / f".aside-{machine_id()}-{2**22 + 1}-{'0' * 32}"
    dead.mkdir()
    store.delete()
    assert list(tmp_path.iterdir()) == []


def test_checkpoint_that_vanishes_at_every_look_is_told_after_sixteen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int] = []

    def vanish(_: CheckpointStore) -> None:
        looks.append(1)
        raise FileNotFoundError

    monkeypatch.setattr(CheckpointStore, "_load_newest", vanish)
    with pytest.raises(StorageUnavailable, match="one that vanished 16 times"):
        CheckpointStore(tmp_path).load()
    assert len(looks) == 16


def test_checkpoint_of_other_files_than_a_checkpoint_has_is_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = CheckpointStore(tmp_path, keep=2)
    store.save({"weight": torch.ones(1)}, {"step": 1})
    seal_folder(
        tmp_path, {"document.json": b"{}"}, lambda m: f"00000002-{hashlib.sha256(m).hexdigest()[:16]}"
    )
    with caplog.at_level(logging.WARNING):
        found = store.load()
    assert found is not None
    assert found.document == {"step": 1}
    assert "must hold tensors.safetensors and document.json" in found.damaged[0]


@pytest.mark.parametrize(
    ("error", "found", "do"),
    [
        (OSError(errno.ENOSPC, "No space left", "/x"), "ENOSPC (No space left) at /x", "free some space"),
        (OSError(errno.EDQUOT, "Quota exceeded"), "EDQUOT (Quota exceeded) at {folder}", "free some space"),
        (
            OSError(errno.EIO, "Input/output error"),
            "EIO (Input/output error) at {folder}",
            "see that the path",
        ),
        (OSError("odd"), "OSError (None) at {folder}", "see that the path"),
    ],
)
def test_refusal_of_the_file_system_is_told_with_what_to_do(
    error: OSError, found: str, do: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> None:
        raise error

    monkeypatch.setattr(atomic_folders, "list_folder", refuse)
    with pytest.raises(StorageUnavailable) as caught:
        list_folder(tmp_path)
    assert caught.value.found == found.format(folder=tmp_path)
    assert str(caught.value.do).startswith(do)


def test_files_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="a name of its own"):
        folder_contents(None, {"a.json": {}}, {"a.json": b""})
    assert folder_contents(None, {"a.json": {"x": 1}}, {"b": b"1"}) == {"a.json": b'{"x":1}', "b": b"1"}
