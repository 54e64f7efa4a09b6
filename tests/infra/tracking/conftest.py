"""One real MLflow store on SQLite for the whole session; every story is a sweep of its own in it."""

from __future__ import annotations

import atexit
import itertools
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from infra.home import Home
from tests.infra.tracking.story import Story, a_spec
from tests.tracking_stores import prepare_empty_store

_numbers = itertools.count()


@cache
def shared_store() -> str:
    """The URI of an MLflow store that this process has made once: its migrations take seconds."""
    folder = tempfile.mkdtemp(prefix="mlflow-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    home = Home(Path(folder))
    prepare_empty_store(home)
    return home.mlflow_uri


@pytest.fixture(scope="session")
def store() -> str:
    """The URI of an MLflow store."""
    return shared_store()


@pytest.fixture(scope="session")
def mlflow(store: str) -> Any:
    """MLflow's own client on that store."""
    from mlflow import MlflowClient

    return MlflowClient(store, registry_uri=store)


@pytest.fixture
def tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Story]:
    """Begins a story whose sweep has a name that no other has; the current folder is an empty one."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")

    def begin(facts: dict[str, Any] | None = None, **changes: Any) -> Story:
        number = next(_numbers)
        spec = a_spec(**{"name": f"sweep-{number}", **changes})
        more = {} if facts is None else {"facts": facts}
        return Story(tmp_path / f"home-{number}", spec=spec, **more)

    return begin


def runs_of(mlflow: Any, story: Story) -> dict[str, Any]:
    """The runs of a story's experiment by name; fails where two have one name."""
    experiment = mlflow.get_experiment_by_name(story.spec.experiment or story.spec.label)
    found = mlflow.search_runs([experiment.experiment_id], max_results=1000)
    named = {run.info.run_name: run for run in found}
    assert len(named) == len(found), sorted(run.info.run_name for run in found)
    return named


def points_of(mlflow: Any, run: Any, metric: str) -> list[tuple[int, float]]:
    """Step and value of every point of a metric, in the order in which they were written."""
    return [(m.step, m.value) for m in mlflow.get_metric_history(run.info.run_id, metric)]
