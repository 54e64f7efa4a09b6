"""A home that was moved, copied or reached by another path: whose artifacts MLflow's file names."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import mlflow
import pytest

from infra.home import Home
from infra.tracking.client import prepare_tracking
from infra.tracking.moved_home import plan_moves


@pytest.fixture
def former(tmp_path: Path) -> Home:
    """A home with an experiment, a run with a file, a model and a version of it."""
    home = Home(tmp_path / "former")
    prepare_tracking(home.mlflow_uri, home)
    client = mlflow.MlflowClient(home.mlflow_uri, home.mlflow_uri)
    experiment = client.create_experiment("digits", artifact_location=(home.artifacts / "digits").as_uri())
    client.create_experiment("elsewhere", artifact_location=(tmp_path / "artifacts" / "own").as_uri())
    run = client.create_run(experiment)
    client.log_text(run.info.run_id, "a note", "note.txt")
    model = client.create_logged_model(experiment)
    client.create_registered_model("digits")
    client.create_model_version("digits", model.artifact_location)
    return home


def addresses(home: Home) -> set[str]:
    """All that MLflow's file says of where files are."""
    queries = (
        "SELECT artifact_location FROM experiments", "SELECT artifact_uri FROM runs",
        "SELECT artifact_location FROM logged_models", "SELECT storage_location FROM model_versions",
    )  # fmt: skip
    with closing(sqlite3.connect(home.path / "mlflow.db")) as store:
        return {str(place) for query in queries for (place,) in store.execute(query) if place}


def test_moved_home_s_artifacts_are_found_and_written_where_they_lie(former: Home, tmp_path: Path) -> None:
    """They were looked for, and new ones written, where the home had been."""
    home = Home(former.path.rename(tmp_path / "now"))
    assert any("/former/" in place for place in addresses(home))
    prepare_tracking(home.mlflow_uri, home)
    assert not any("/former/" in place for place in addresses(home))
    client = mlflow.MlflowClient(home.mlflow_uri, home.mlflow_uri)
    (run,) = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    assert Path(mlflow.artifacts.download_artifacts(
        run_id=run.info.run_id, artifact_path="note.txt", tracking_uri=home.mlflow_uri
    )).read_text() == "a note"  # fmt: skip
    later = client.create_run(run.info.experiment_id)
    client.log_text(later.info.run_id, "another", "note.txt")
    assert not former.path.exists()
    elsewhere = client.get_experiment_by_name("elsewhere").artifact_location
    assert elsewhere == (tmp_path / "artifacts" / "own").as_uri()


def test_home_that_another_path_leads_to_stays_as_it_is(former: Home, tmp_path: Path) -> None:
    known = addresses(former)
    (tmp_path / "link").symlink_to(former.path)
    prepare_tracking(former.mlflow_uri, Home(tmp_path / "link"))
    link = Home(tmp_path / "link")
    prepare_tracking(link.mlflow_uri, link)
    assert addresses(former) == known


@pytest.mark.parametrize(
    ("location", "moved"),
    [
        ("file:///old/artifacts/digits", True),
        ("file:///old/artifacts/unwritten", True),  # of the same home, whose other folder is here
        ("file:///other/artifacts/unwritten", False),
        ("file:///other/results/digits", False),
        ("/old/artifacts/digits", True),
        ("s3://bucket/artifacts/digits", False),
        ("artifacts/digits", False),
        ("file:///old/artifacts", False),
        ("file:///old/artifacts/../../elsewhere", False),
        ("file:///old/artifacts/%2e%2e/%2e%2e/elsewhere", False),
        ("file:///old%20one/artifacts/digits/7", False),
    ],
)
def test_address_of_a_former_home_is_moved_and_no_other(location: str, moved: bool, tmp_path: Path) -> None:
    artifacts = tmp_path / "new home" / "artifacts"
    (artifacts / "digits").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    moves = plan_moves(["file:///old/artifacts/digits", location], artifacts)
    assert (location in moves) is moved
    assert moves["file:///old/artifacts/digits"] == (artifacts / "digits").as_uri()
    if moved and location.startswith("/"):
        assert moves[location] == str(artifacts / "digits")
