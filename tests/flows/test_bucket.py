"""A sweep whose storage is a bucket, from a lane on one machine to commands on another."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.inference.model_lookup import choose_model
from flows.sweeps.remove import remove
from flows.sweeps.views.logs import logs
from flows.sweeps.views.show import show
from infra.coordinator.messages import Assignment, AttemptResult
from infra.errors import StorageUnavailable
from infra.home import Home, storage_place
from infra.lanes.attempt import AttemptRunner
from infra.lanes.settings import LaneSettings
from infra.mirror import publish
from infra.spec import Budget, FamilySpec, Objective, Resources, SweepSpec
from tests.flows.conftest import CommandResult
from tests.flows.ledger_sweeps import trial_of, write_sweep
from tests.infra.object_store import ObjectStore, running_store
from tests.trainers.tiny import Recorder
from trainers.types import Ranks

URL = "s3://models/team"
Velodrome = Callable[..., CommandResult]


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    with running_store(monkeypatch) as made:
        yield made


def run_attempt(machine: Path, family: FamilySpec, data: Any, **more: Any) -> AttemptResult:
    """One attempt, as a lane on a machine with a home of its own runs it."""
    spec = SweepSpec(
        name="digits", version=1, data=data, objectives=(Objective(metric="val/loss", direction="minimize"),),
        families=(family,),
    )  # fmt: skip
    settings = LaneSettings(
        run="test", shape="", resources=Resources(), spec=spec.to_json(), base=str(machine),
        storage=str(storage_place(Home(machine), URL)), cache=str(machine / "cache"),
        logs=str(machine / "logs"), bucket=URL,
    )  # fmt: skip
    asked = Assignment(
        attempt="1", role="search", family=family.name, number=1, params={}, seed=1, **{"ordinal": 1, **more}
    )
    return AttemptRunner(settings, device="cpu", ranks=Ranks()).run(asked, Recorder())


def test_model_of_a_lane_elsewhere_is_found_and_its_sweep_removed_from_here(
    store: ObjectStore, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = FamilySpec(
        name="image_cnn", reference="image_cnn", trials=1,
        budget=Budget(epochs=None, steps=2, report_every=2),
    )  # fmt: skip
    ended = run_attempt(tmp_path / "lane", family, {"source": "builtin:digits"})
    assert (ended.outcome, ended.detail) == ("complete", "")
    log = storage_place(Home(tmp_path / "lane"), URL) / "digits" / ".logs" / "image_cnn-0001-1.log"
    log.parent.mkdir()
    log.write_text("epoch 1\n")
    publish(log)
    monkeypatch.setenv("VELODROME_STORAGE", URL)
    write_sweep(home, trials=(trial_of("image_cnn", 1, "complete", 0.9, model=ended.model),))
    chosen = choose_model("digits", home)
    assert chosen.artifact is not None
    assert "weights.safetensors" in chosen.artifact.files
    assert show("digits", trial=1, home=home).model == str(storage_place(home, URL) / str(ended.model))
    assert [file.text() for file in logs("digits", trial=1, home=home).files] == ["epoch 1\n"]
    assert len(store.names("team/digits")) > 3
    remove("digits", home=home)
    assert not store.names()


FUNCTION = """
def train(trial):
    note = trial.directory / "note"
    before = note.read_text() if note.exists() else "nothing"
    note.write_text(f"of attempt {trial.attempt}")
    trial.report(loss=1.0, before=len(before))
    if trial.attempt == 1:
        raise RuntimeError("the machine goes")
"""


def test_files_of_an_attempt_that_failed_are_there_for_the_next_on_another_machine(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bucket_own.py").write_text(FUNCTION)
    monkeypatch.syspath_prepend(str(tmp_path))
    family = FamilySpec(name="own", reference="bucket_own:train", trials=1, budget=Budget(epochs=1))
    stale = storage_place(Home(tmp_path / "b"), URL) / "digits" / "own" / "search-0001" / "files" / "stale"
    stale.parent.mkdir(parents=True)
    stale.write_text("of a sweep that was removed")
    first = run_attempt(tmp_path / "a", family, {"source": "none"})
    assert (first.outcome, first.reason) == ("failed", "error")
    second = run_attempt(tmp_path / "b", family, {"source": "none"}, ordinal=2)
    assert (second.outcome, second.metrics["val/before"]) == ("complete", len("of attempt 1"))
    assert not stale.exists()
    note = "models/team/digits/own/search-0001/files/note"
    assert store.names("team/digits") == [note]
    assert store.objects[note][0] == b"of attempt 2"
    sys.modules.pop("bucket_own", None)


@pytest.mark.parametrize("command", [("plan", "digits.yaml"), ("sweep", "digits.yaml"), ("doctor",)])
def test_bucket_that_takes_nothing_is_told_before_anything_is_spent(
    store: ObjectStore, velodrome: Velodrome, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    Path("digits.yaml").write_text(
        "name: digits\ndata: {source: builtin:digits}\nbudget: {trials: 1, epochs: 1}\n"
        f"families: {{image_cnn: {{}}}}\nstorage: {URL}\n"
    )
    monkeypatch.setenv("VELODROME_STORAGE", URL)
    store.fault = lambda method, path: (403, "ExpiredToken") if method in {"PUT", "POST"} else None
    result = velodrome(*command)
    told = result.err + result.out
    assert result.status != 0
    assert "s3://models/team must take" in told
    assert "renew the credentials" in " ".join(told.split())
    assert not Path(Home.from_environment().path / "ledger.db").exists()


def test_model_that_the_bucket_does_not_take_fails_its_trial_by_name(
    store: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AttemptRunner, "_publish_files", _refuse)
    family = FamilySpec(
        name="image_cnn", reference="image_cnn", trials=1,
        budget=Budget(epochs=None, steps=1, report_every=1),
    )  # fmt: skip
    ended = run_attempt(tmp_path, family, {"source": "builtin:digits"})
    assert (ended.outcome, ended.reason) == ("failed", "error")
    assert ended.detail.startswith("StorageUnavailable: s3://models/team must take x")


def _refuse(*_: object) -> None:
    raise StorageUnavailable(f"{URL} must take x", "503", "wait")
