"""A model that was kept with a key answers with it in every way, and with no other."""

from __future__ import annotations

import base64
from pathlib import Path

import pandas as pd
import pytest

from flows.explanation.explain import explain
from flows.inference.predict import predict
from infra.registry.isolated_predict import predict_isolated
from tests.flows.inference.test_predict import COLUMNS, expected_predictions, read_output, write_rows
from tests.infra.serving.registry_with_models import RegistryFixture, a_bundle
from trainers.pretrained.weights import read_weights
from trainers.storage.encryption import WrongKey

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
    with pytest.raises(WrongKey, match="opened with its key"):
        predict("linear-regression", rows, home=registered.home, overwrite=True)


def test_encrypted_model_answers_in_a_new_interpreter(registered: RegistryFixture) -> None:
    rows = pd.DataFrame({name: [0.01, 0.02] for name in COLUMNS})
    version = registered.location("linear-regression", "1").removeprefix("file://")
    assert len(predict_isolated(Path(version), rows).predictions) == 2
