"""`velodrome compress`: a trial of its own in the ledger, whose bundle answers as its numbers say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows.cli.app import app
from flows.compression.compress import compress
from flows.config.lookup import open_sweep
from flows.confirmation.confirm import _candidates
from flows.inference.model_lookup import choose_model
from flows.reproduction.reproduce import reproduce
from flows.sweeps.views.status import status
from infra.errors import WrongInput
from infra.home import Home
from infra.ledger import views
from infra.ledger.rows import TrialRow
from tests.flows.real_trials import train_and_write
from trainers.bundle.bundle import load_bundle, read_bundle
from trainers.errors import InputError

FILE = """
name: cancer
data: {source: builtin:cancer}
budget: {trials: 1, epochs: 3}
families: {mlp: {space: {hidden: [64, 64], learning_rate: 0.01}}}
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A finished sweep of one trial, whose model is kept."""
    place = Home(tmp_path / "home")
    (tmp_path / "cancer.yaml").write_text(FILE)
    train_and_write(place, tmp_path / "cancer.yaml", {"hidden": [64, 64], "learning_rate": 0.01})
    return place


def trials_of(home: Home) -> list[TrialRow]:
    ledger, row = open_sweep("cancer", home)
    try:
        return views.trials(ledger, row.id)
    finally:
        ledger.close()


def test_compress_int8_adds_a_measured_trial(home: Home) -> None:
    made = compress("cancer", trial=0, how="int8", home=home)
    assert (made.number, made.made_of, made.how, made.unsent) == (1, 0, "int8", 0)
    assert made.after.size_bytes < 0.35 * made.before.size_bytes
    before, after = trials_of(home)
    assert (after.state, after.objective, after.compression) == (
        "complete", [made.after.value], {"number": 0, "how": "int8", "epochs": 0},
    )  # fmt: skip
    assert abs(made.after.value - made.before.value) < 0.02
    folder = home.storage / str(after.model)
    predictor, own = load_bundle(folder), load_bundle(home.storage / str(before.model))
    assert predictor.size_bytes == made.after.size_bytes == after.facts["size_bytes"]
    rows = own.example
    assert predictor.predict(rows)["label"].tolist() == own.predict(rows)["label"].tolist()
    assert not predictor.predict(rows).equals(own.predict(rows))
    assert predictor.document["facts"]["number"] == 1
    assert (predictor.train_rows == own.train_rows).all()
    listed: Any = status("cancer", home=home).to_json()
    assert [trial["value"] for trial in listed["trials"]] == [made.before.value, made.after.value]
    assert listed["trials"][1]["mlflow_run_id"]
    assert choose_model("cancer", home).artifact is not None


def test_compress_prune_with_epochs_trains_what_is_left(home: Home) -> None:
    said: list[str] = []
    made = compress("cancer", trial=0, how="prune:0.9", epochs=2, home=home, say=said.append)
    assert len(said) == 2
    trial = trials_of(home)[1]
    weights = read_bundle(home.storage / str(trial.model)).weights
    sparse = [tensor for tensor in weights.values() if tensor.dim() == 2]
    assert all(float((tensor == 0).float().mean()) >= 0.89 for tensor in sparse)
    assert trial.epochs == 2
    assert "train/loss" in trial.metrics
    plain = compress("cancer", trial=0, how="prune:0.9", home=home)
    assert plain.number == 2
    assert made.after.value >= plain.after.value


def test_compressed_trials_are_neither_confirmed_nor_reproduced_nor_compressed(home: Home) -> None:
    compress("cancer", trial=0, how="bf16", home=home)
    with pytest.raises(WrongInput, match="made of a trained one"):
        compress("cancer", trial=1, how="int8", home=home)
    with pytest.raises(WrongInput, match="trained to be reproduced"):
        reproduce("cancer", trial=1, home=home)
    ledger, row = open_sweep("cancer", home)
    try:
        assert [trial.number for trial in _candidates(ledger, row, None)] == [0]
        family = row.spec.family("mlp")
        assert (family.trials, family.compressed) == (2, 1)
    finally:
        ledger.close()


def test_compress_refuses_before_anything_is_written(home: Home) -> None:
    with pytest.raises(InputError, match="--how must be"):
        compress("cancer", trial=0, how="int4", home=home)
    with pytest.raises(WrongInput, match="--epochs"):
        compress("cancer", trial=0, how="int8", epochs=2, home=home)
    with pytest.raises(WrongInput, match="name one trial"):
        compress("cancer", trial=5, how="int8", home=home)
    assert len(trials_of(home)) == 1


def test_compress_command_prints_one_document(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VELODROME_HOME", str(home.path))
    done = CliRunner().invoke(app, ["compress", "cancer", "--trial", "0", "--how", "bf16", "--json"])
    assert done.exit_code == 0, done.output
    found: Any = json.loads(done.stdout)
    assert (found["number"], found["how"], found["metric"]) == (1, "bf16", "val/accuracy")
    assert found["after"]["size_bytes"] == pytest.approx(found["before"]["size_bytes"] / 2, rel=0.05)
