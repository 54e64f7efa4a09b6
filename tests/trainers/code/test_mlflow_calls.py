"""MLflow's calls in people's own code leave neither a store nor a run nor a setting behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import pytest

from trainers.code.importing import import_module
from trainers.code.mlflow_calls import active_run_id
from trainers.functions.job import FunctionJob
from trainers.functions.run import dry_run_function
from trainers.functions.trial import Trial
from trainers.try_out import try_out
from trainers.types import Goal, Length

GOALS = (Goal(metric="val/score", maximize=True),)


def log_all(trial: Trial) -> None:
    mlflow.set_experiment("mine")
    mlflow.log_metric("early", 1.0)
    mlflow.log_text("told", "note.txt")
    mlflow.end_run()
    mlflow.start_run(run_name="left open")
    mlflow.log_params(trial.params)
    for epoch in trial.epochs():
        trial.report(score=epoch)
        mlflow.log_metric("mine", epoch, step=epoch)


def log_automatically(trial: Trial) -> None:
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    mlflow.sklearn.autolog(log_models=False)  # type: ignore[attr-defined]  # loaded by name
    x = np.arange(8.0).reshape(-1, 1)
    for _ in trial.epochs():
        LogisticRegression().fit(x, x[:, 0] > 3)
        logged = mlflow.last_active_run()
        assert logged is not None
        trial.report(score=logged.data.metrics["training_score"])


def dry_run(function: Callable[[Trial], object], folder: Path) -> object:
    job = FunctionJob(
        function=function,
        params={"rate": 0.1},
        seed=0,
        length=Length(epochs=2),
        goals=GOALS,
        directory=folder,
    )
    return dry_run_function(job)


def try_once(function: Callable[[Trial], object], folder: Path) -> object:
    return try_out(function, {"rate": 0.1}, epochs=2, objective="score", direction="maximize", show=len)


def settings() -> dict[str, Any]:
    return {
        "environment": {name: value for name, value in os.environ.items() if name.startswith("MLFLOW")},
        "run": active_run_id(),
        "experiment": mlflow.tracking.fluent._active_experiment_id,
        "uri": mlflow.get_tracking_uri(),
        "autolog": mlflow.utils.autologging_utils.autologging_is_disabled("sklearn"),
    }


@pytest.mark.parametrize("run", [try_once, dry_run])
@pytest.mark.parametrize("function", [log_all, log_automatically])
def test_trial_that_is_tried_leaves_no_store_and_no_setting(
    run: Callable[[Callable[[Trial], object], Path], object],
    function: Callable[[Trial], object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "files").mkdir()
    before = settings()
    run(function, tmp_path / "files")
    assert settings() == before
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["files"]


def test_run_of_a_notebook_takes_what_a_tried_function_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path / 'store'}")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")

    def log(trial: Trial) -> None:
        trial.report(score=1.0)
        mlflow.log_metric("mine", 2.0)

    with mlflow.start_run() as run:
        try_once(log, tmp_path)
    assert mlflow.get_run(run.info.run_id).data.metrics == {"mine": 2.0}


def test_module_that_logs_at_its_top_is_imported_without_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "logs_at_its_top.py").write_text(
        "import mlflow\nmlflow.set_experiment('mine')\nmlflow.start_run()\nmlflow.log_param('a', 1)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    before = settings()
    import_module("logs_at_its_top")
    assert settings() == before
    assert {path.name for path in tmp_path.iterdir()} <= {"logs_at_its_top.py", "__pycache__"}


def test_store_that_a_module_names_itself_stays_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = f"file://{tmp_path / 'named'}"
    (tmp_path / "names_a_store.py").write_text(f"import mlflow\nmlflow.set_tracking_uri('{named}')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    import_module("names_a_store")
    try:
        try_once(log_all, tmp_path)
        assert [
            run.data.metrics
            for run in mlflow.search_runs(
                experiment_names=["mine"], output_format="list", order_by=["attributes.start_time"]
            )
        ] == [{"early": 1.0}, {"mine": 1.0}]
        assert mlflow.get_tracking_uri() == named
    finally:
        mlflow.set_tracking_uri(None)  # type: ignore[arg-type]  # as it was
