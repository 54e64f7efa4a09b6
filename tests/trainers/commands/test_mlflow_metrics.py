"""Commands that log their metrics by MLflow: each step is a report, and what is ours is left out."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
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
def connect(store: Store, monkeypatch: pytest.MonkeyPatch) -> Callable[..., LoggedMetrics]:
    monkeypatch.setattr("trainers.commands.mlflow_metrics.POLL_S", 0.0)
    monkeypatch.setattr("trainers.commands.mlflow_metrics.LoggedMetrics._connect", lambda _: store)
    environment = {"MLFLOW_TRACKING_URI": "http://here", "MLFLOW_RUN_ID": "r"}
    return partial(LoggedMetrics, environment, [GOAL])


@pytest.fixture
def logged(connect: Callable[..., LoggedMetrics]) -> LoggedMetrics:
    return connect()


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
    store.log("val/accuracy", 0.5, 1, 0)  # as the sender copies it: at the time of the report
    logged.note_report(1, found)
    store.log("system/cpu_percent", 12.0, 1)
    store.log("best/accuracy", 0.5, 0)
    store.log("val/accuracy", 0.5, 2, 30)
    assert list(logged.read_new(ended=True)) == [{"val/accuracy": 0.5}]


def test_metric_of_an_earlier_attempt_is_no_report(
    connect: Callable[..., LoggedMetrics], store: Store
) -> None:
    """Whatever its time says, and though some of its reports come to the run after it."""
    store.log("accuracy", 0.9, 0, 60_000)
    store.log("val/accuracy", 0.9, 1, 60_001)
    again = connect({1: {"val/accuracy": 0.9}, 2: {"val/accuracy": 0.8}}, attempt=2)
    store.log("val/accuracy", 0.8, 2, 60_002)
    assert list(again.read_new(ended=True)) == []
    store.log("val/accuracy", 0.9, 1, 60_003)  # the command's, which begins again
    assert list(again.read_new(ended=True)) == [{"val/accuracy": 0.9}]


def test_metric_of_an_attempt_that_reported_nothing_is_no_report(
    connect: Callable[..., LoggedMetrics], store: Store
) -> None:
    store.log("accuracy", 0.9, 0)
    assert list(connect(attempt=2).read_new(ended=True)) == []


def test_former_points_that_cannot_be_read_end_the_attempt(
    connect: Callable[..., LoggedMetrics], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainers.commands.mlflow_metrics._FORMER_S", 0.0)
    store.fails = True
    with pytest.raises(TrialError, match="must be readable"):
        connect(attempt=2)


def test_clock_that_is_set_back_loses_no_report_and_changes_no_order(
    logged: LoggedMetrics, store: Store
) -> None:
    for step, later_ms in enumerate((10, 20, -3_600_000, -3_599_000)):
        store.log("accuracy", step / 10, step, later_ms)
        store.log("loss", step / 10, step, later_ms)
        list(logged.read_new())
        assert list(logged.read_new()) == [{"accuracy": step / 10, "loss": step / 10}]


def test_clock_that_is_set_back_repeats_no_report_without_steps(logged: LoggedMetrics, store: Store) -> None:
    for value, later_ms in ((0.5, 10), (0.6, 20), (0.7, -3_600_000)):
        store.log("accuracy", value, 0, later_ms)
        list(logged.read_new())
        assert list(logged.read_new()) == [{"accuracy": value}]


def test_report_comes_back_once_whatever_the_clock_of_its_copy(logged: LoggedMetrics, store: Store) -> None:
    for number, later_ms in ((1, -3_600_000), (2, 3_600_000)):
        store.log("val/accuracy", 0.5, number)
        (found,) = logged.read_new(ended=True)
        logged.note_report(number, found)
        store.log("val/accuracy", 0.5, number, later_ms)
        assert list(logged.read_new(ended=True)) == []


def test_value_that_is_no_number_is_read_once(connect: Callable[..., LoggedMetrics], store: Store) -> None:
    logged = connect()
    store.log("accuracy", float("nan"), 0)
    assert len(list(logged.read_new(ended=True))) == 1
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
