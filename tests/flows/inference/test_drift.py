"""`velodrome drift` over a log that a server wrote."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flows.inference.drift import drift
from infra.errors import WrongInput
from infra.monitoring.prediction_log import PredictionLog
from infra.serving.artifact import load_artifact, read_artifact
from infra.serving.scoring import answer_batch, join_requests
from infra.serving.scoring_protocol import RequestRows
from tests.infra.serving.registry_with_models import RegistryFixture, a_bundle
from trainers.data.sources.builtin import read_builtin


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> RegistryFixture:
    """A linear model of ten numbers as the champion of `m`."""
    made = RegistryFixture(tmp_path_factory.mktemp("registered"))
    made.add("m", a_bundle("linear_regression", made.folder / "one", made.folder / "cache"), alias="champion")
    return made


def diabetes() -> pd.DataFrame:
    """The rows that the model was trained on, and a few others."""
    raw = read_builtin("diabetes", None, Path())
    columns = {name: np.asarray(column) for name, column in raw.columns.items() if name != "progression"}
    return pd.DataFrame(columns)


def write_log(folder: Path, bundle: Path, rows: pd.DataFrame, version: str = "m/1") -> None:
    """As a server keeps the rows that its model answers."""
    model = load_artifact(read_artifact(version, bundle))
    columns = {str(name): rows[name].tolist() for name in rows.columns}
    (answer,) = answer_batch(model, join_requests([(columns, len(rows))]))
    records = json.loads(answer.content)
    kept = PredictionLog(folder)
    kept.observe(version, model.schema, RequestRows(columns=columns, count=len(rows)), records, "id")
    asyncio.run(kept.flush())


def test_rows_of_training_have_not_drifted_and_changed_ones_have(
    registered: RegistryFixture, tmp_path: Path
) -> None:
    bundle, rows = registered.folder / "one", diabetes()
    write_log(tmp_path / "same", bundle, rows)
    report = drift("m", tmp_path / "same", home=registered.home)
    assert (report.version, report.rows, len(report.columns)) == ("m/1", len(rows), 11)
    inputs = {column.column: column for column in report.columns if column.what == "input"}
    assert {column.verdict for column in inputs.values()} == {"same"}
    rows["age"] += 40
    rows.loc[::2, "bmi"] = np.nan
    write_log(tmp_path / "other", bundle, rows)
    report = drift("m/1", tmp_path / "other", home=registered.home)
    found = {column.column: column for column in report.columns}
    assert {found["age"].verdict, found["bmi"].verdict} == {"drifted"}
    assert found["s3"].verdict == "same"
    assert found["age"].unseen > 0.5
    assert found["bmi"].missing == (0.0, pytest.approx(0.5, abs=0.01))
    assert report.columns[0].index >= report.columns[-1].index
    json.dumps(report.to_json(), allow_nan=False)


def test_few_rows_have_no_verdict(registered: RegistryFixture, tmp_path: Path) -> None:
    write_log(tmp_path / "few", registered.folder / "one", diabetes()[:50])
    report = drift("m", tmp_path / "few", home=registered.home)
    assert {column.verdict for column in report.columns} == {"few rows"}


def test_drift_without_rows_of_the_version_names_those_that_are_there(
    registered: RegistryFixture, tmp_path: Path
) -> None:
    write_log(tmp_path / "log", registered.folder / "one", diabetes()[:50], version="m/7")
    with pytest.raises(WrongInput, match="m/7"):
        drift("m", tmp_path / "log", home=registered.home)
    with pytest.raises(WrongInput, match="Parquet"):
        drift("m", tmp_path / "nowhere", home=registered.home)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.parquet").write_bytes(b"no")
    with pytest.raises(WrongInput, match="what a server wrote"):
        drift("m", tmp_path / "bad", home=registered.home)
