"""A model that was kept with a key answers with it in every way, and with no other."""

from __future__ import annotations

import base64
import json
import signal
from pathlib import Path

import pandas as pd
import pytest
from sklearn.datasets import load_digits

from flows.explanation.explain import explain
from flows.inference.predict import predict
from infra.registry.isolated_predict import predict_isolated
from tests.faults.harness import Stage
from tests.flows.inference.test_predict import COLUMNS, expected_predictions, read_output, write_rows
from tests.infra.serving.registry_with_models import RegistryFixture, a_bundle
from trainers.pretrained.weights import read_weights
from trainers.storage.encryption import MARK, WrongKey

KEYS = [base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2)]


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RegistryFixture:
    """A linear model that was written with the first key, which is in the environment."""
    monkeypatch.setenv("VELODROME_KEY", KEYS[0])
    made = RegistryFixture(tmp_path)
    bundle = a_bundle("linear_regression", made.folder / "linear_regression", made.folder / "cache")
    made.add("linear-regression", bundle, alias="champion")
    return made


def test_encrypted_model_predicts_and_explains_with_its_key_alone(
    registered: RegistryFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = write_rows(tmp_path / "rows.csv", 20)
    predict("linear-regression", rows, home=registered.home)
    made = [float(row["prediction"]) for row in read_output(tmp_path / "rows.predictions.csv")]
    assert made == pytest.approx(expected_predictions(registered, rows), rel=1e-6)
    assert explain("linear-regression", rows, out=tmp_path / "why", home=registered.home).rows == 20
    weights = read_weights(registered.folder / "linear_regression" / "weights.safetensors")
    assert "linear.weight" in weights
    monkeypatch.setenv("VELODROME_KEY", KEYS[1])
    with pytest.raises(WrongKey, match=r"^linear-regression/1 must be opened with its key"):
        predict("linear-regression", rows, home=registered.home, overwrite=True)


def test_encrypted_model_answers_in_a_new_interpreter(registered: RegistryFixture) -> None:
    rows = pd.DataFrame({name: [0.01, 0.02] for name in COLUMNS})
    version = registered.location("linear-regression", "1").removeprefix("file://")
    assert len(predict_isolated(Path(version), rows).predictions) == 2


FILE = """
name: sealed
data: {source: builtin:digits}
search: {sampler: random, pruner: none, stack: "off"}
budget: {trials: 1, epochs: 400}
checkpoint: {every: 1 epochs}
resources: {lanes: 1}
families: {mlp: {space: {hidden: [256], learning_rate: {type: float, low: 1e-3, high: 2e-3}}}}
"""


def readable_tensors(folder: Path) -> list[Path]:
    """Files of tensors that anybody can read."""
    files = list(folder.rglob("*.safetensors"))
    assert files
    return [path for path in files if not path.read_bytes().startswith(MARK)]


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_sweep_with_a_key_is_killed_resumed_and_asked_with_that_key_alone(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"OMP_NUM_THREADS": "1", "VELODROME_KEY": KEYS[0]})
    stage.write("sealed.yaml", FILE)
    process = stage.start("sweep", "sealed.yaml")
    stage.wait_for("sealed", lambda trials: any(trial.epochs >= 3 for trial in trials))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=600)
    assert process.returncode == 143
    assert readable_tensors(stage.home.storage) == []
    stranger = Stage(tmp_path, {**stage.environment, "VELODROME_KEY": KEYS[1]})
    refused = stranger.run("sweep", "sealed.yaml")
    assert refused.returncode == 2
    assert "VELODROME_KEY" in refused.stderr
    done = stage.run("sweep", "sealed.yaml")
    assert done.returncode == 0, done.stderr
    (trial,) = stage.trials("sealed")
    assert (trial.state, trial.epochs, trial.attempts) == ("complete", 400, 2)
    assert readable_tensors(stage.home.storage) == []
    pictures = (load_digits().images[:4, :, :, None] * (255 / 16)).round().astype("uint8")
    stage.write("rows.jsonl", "".join(json.dumps({"image": one.tolist()}) + "\n" for one in pictures))
    asked = stranger.run("predict", "sealed", "rows.jsonl")
    assert asked.returncode == 2
    assert "key" in asked.stderr
    assert stage.run("predict", "sealed", "rows.jsonl").returncode == 0
