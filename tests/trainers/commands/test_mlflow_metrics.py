"""Commands that log their metrics by MLflow: each step is a report, and what is ours is left out."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainers.commands.mlflow_metrics import LoggedMetrics, logging_environment
from trainers.errors import TrialError
from trainers.try_out import try_out

GOAL = "val/accuracy"
SCRIPT = """
import os, sys
import mlflow
mlflow.log_param("layers", 3)
for epoch in range(3):
    mlflow.log_metrics({"loss": 1.0 / (epoch + 1), "accuracy": 0.5 + epoch / 10}, step=epoch)
"""


class Store:
    """A run as MLflow's client shows it."""

    def __init__(self) -> None:
        self.points: list[Any] = []
        self.fails = False

    def log(self, key: str, value: float, step: int, later_ms: int = 10) -> None:
        now = int(time.time() * 1000) + later_ms
        self.points.append(SimpleNamespace(key=key, value=value, step=step, timestamp=now))

    def get_run(self, run_id: str) -> Any:
        if self.fails:
            raise ConnectionError("away")
        return SimpleNamespace(data=SimpleNamespace(metrics=dict.fromkeys(p.key for p in self.points)))

    def get_metric_history(self, run_id: str, key: str) -> list[Any]:
        return [point for point in self.points if point.key == key]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def logged(store: Store, monkeypatch: pytest.MonkeyPatch) -> LoggedMetrics:
    monkeypatch.setattr("trainers.commands.mlflow_metrics.POLL_S", 0.0)
    made = LoggedMetrics({"MLFLOW_TRACKING_URI": "http://here", "MLFLOW_RUN_ID": "r"}, [GOAL])
    monkeypatch.setattr(made, "_connect", lambda: store)
    return made


def test_step_is_a_report_once_nothing_more_comes_at_it(logged: LoggedMetrics, store: Store) -> None:
    store.log("accuracy", 0.5, 0)
    assert list(logged.read_new()) == []
    store.log("loss", 2.0, 0)
    assert list(logged.read_new()) == []
    assert list(logged.read_new()) == [{"accuracy": 0.5, "loss": 2.0}]
    assert list(logged.read_new()) == []
    store.log("accuracy", 0.6, 1, 20)
    store.log("accuracy", 0.7, 2, 30)
    assert list(logged.read_new()) == [{"accuracy": 0.6}]
    assert list(logged.read_new(ended=True)) == [{"accuracy": 0.7}]


def test_metrics_without_steps_are_reports_in_their_order(logged: LoggedMetrics, store: Store) -> None:
    for place, value in enumerate((0.5, 0.7, 0.6)):
        store.log("accuracy", value, 0, 10 + place)
    assert [found["accuracy"] for found in logged.read_new(ended=True)] == [0.5, 0.7, 0.6]


def test_metric_that_velodrome_writes_to_the_run_is_no_report(logged: LoggedMetrics, store: Store) -> None:
    """Even where the command logs the very name that reports have there."""
    store.log("val/accuracy", 0.5, 1)
    (found,) = logged.read_new(ended=True)
    began_s = time.time()
    store.log("val/accuracy", 0.5, 1, 0)  # as the sender copies it: at the time of the report
    logged.note_report(1, found, began_s)
    store.log("system/cpu_percent", 12.0, 1)
    store.log("best/accuracy", 0.5, 0)
    store.log("val/accuracy", 0.5, 2, 30)
    assert list(logged.read_new(ended=True)) == [{"val/accuracy": 0.5}]


def test_metric_of_an_earlier_attempt_is_no_report(logged: LoggedMetrics, store: Store) -> None:
    store.log("accuracy", 0.9, 0, -60_000)
    assert list(logged.read_new(ended=True)) == []


def test_store_that_is_away_for_a_while_loses_no_report(
    logged: LoggedMetrics, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.log("accuracy", 0.5, 0)
    store.fails = True
    assert list(logged.read_new()) == []
    assert list(logged.read_new()) == []
    assert len(caplog.records) == 1
    with pytest.raises(TrialError, match="must be readable"):
        list(logged.read_new(ended=True))
    store.fails = False
    assert list(logged.read_new(ended=True)) == [{"accuracy": 0.5}]


def test_command_logs_to_its_folder_where_no_run_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://away.example")
    monkeypatch.delenv("MLFLOW_RUN_ID", raising=False)
    assert logging_environment(tmp_path)["MLFLOW_TRACKING_URI"] == (tmp_path / "mlflow").as_uri()
    monkeypatch.setenv("MLFLOW_RUN_ID", "r")
    assert logging_environment(tmp_path) == {}


def test_script_that_logs_by_mlflow_is_a_family_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.py").write_text(SCRIPT)
    lines: list[str] = []
    options = {"command": "python -W ignore train.py", "metrics": "mlflow"}
    outcome = try_out(options, {}, epochs=3, objective="accuracy", show=lines.append)
    assert outcome.values == (0.7,)
    assert [line.split()[1] for line in lines] == ["1", "2", "3"]
    assert "val/loss 0.5" in lines[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.py"]


def test_script_that_never_logs_its_objective_is_told_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options = {"command": "sh -c 'echo nothing'", "metrics": "mlflow"}
    with pytest.raises(TrialError, match=r"must log accuracy by MLflow.*mlflow\.log_metric"):
        try_out(options, {}, objective="accuracy")
