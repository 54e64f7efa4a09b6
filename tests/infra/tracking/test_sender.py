"""What a sweep looks like in a real MLflow."""

from __future__ import annotations

import json
import re
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.home import Home
from infra.spec import FamilySpec, Objective
from infra.tracking.client import TrackingStore, TrackingUnavailable, connect, prepare_tracking
from infra.tracking.sender import Sender
from tests.infra.tracking.conftest import points_of, runs_of
from tests.infra.tracking.story import FACTS, SPACE, Story

Tell = Callable[..., Story]


def tell_every_state(story: Story) -> None:
    """Trials in every state, and a sweep that was stopped."""
    story.complete_trial("image_cnn", 0, value=0.8)
    story.complete_trial("image_cnn", 1, value=0.9, optimizer="sgd", momentum=0.5)
    pruned = story.start(story.ask("rnn", 0))
    story.report(pruned, 1, 0.3)
    story.end(pruned, "pruned", 0.3)
    failed = story.start(story.ask("rnn", 1))
    story.report(failed, 1, 0.2, **{"train/loss": float("nan"), "val/spread": float("inf")})
    story.end(failed, "failed", reason="not-finite: the loss was nan at step 31")
    story.ask("rnn", 2)
    story.conclude("stopped")


def test_trial_is_a_child_run_with_state_points_and_parameters(store: str, mlflow: Any, tell: Tell) -> None:
    story = tell()
    tell_every_state(story)
    sender = story.sender(store)
    assert sender.send_once() > 0
    assert sender.count_unsent() == 0
    runs = runs_of(mlflow, story)
    parent = runs.pop(story.spec.name)
    assert {name: run.info.status for name, run in runs.items()} == {
        "image_cnn-0000": "FINISHED",
        "image_cnn-0001": "FINISHED",
        "rnn-0000": "KILLED",
        "rnn-0001": "FAILED",
        "rnn-0002": "SCHEDULED",
    }
    assert parent.info.status == "KILLED"
    assert parent.data.metrics == {}  # no bar among the trials
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}
    accuracy = points_of(mlflow, runs["image_cnn-0001"], "val/accuracy")
    assert accuracy == [(epoch, pytest.approx(0.9 * epoch / 5)) for epoch in range(1, 6)]
    best = runs["image_cnn-0001"].data
    assert best.metrics["best/accuracy"] == 0.9
    assert best.metrics["best/epoch"] == 5
    assert best.metrics["parameters"] == 9000
    assert best.params == {"learning_rate": "0.005", "optimizer": "sgd", "momentum": "0.5", "hidden": "64"}
    assert runs["rnn-0000"].data.tags["velodrome.state"] == "pruned"
    assert runs["rnn-0001"].data.tags["velodrome.reason"].startswith("not-finite")
    assert "train/loss" not in runs["rnn-0001"].data.metrics
    assert "val/spread" not in runs["rnn-0001"].data.metrics


def test_run_times_are_those_of_the_ledger(store: str, mlflow: Any, tell: Tell) -> None:
    story = tell()
    trial = story.complete_trial("rnn", 0)
    story.sender(store).send_once()
    run = runs_of(mlflow, story)["rnn-0000"]
    assert run.info.start_time == int(trial.started_at * 1000)
    assert run.info.end_time == int(trial.ended_at * 1000)


def test_child_run_carries_tags_of_sweep_and_data_set(store: str, mlflow: Any, tell: Tell) -> None:
    story = tell()
    story.complete_trial("rnn", 0)
    story.sender(store).send_once()
    run = runs_of(mlflow, story)["rnn-0000"]
    tags = run.data.tags
    assert tags["velodrome.sweep"] == story.spec.name
    assert tags["velodrome.git_commit"] == FACTS["git"]["commit"]
    assert tags["velodrome.git_dirty"] == "true"
    assert tags["velodrome.fingerprint"] == "f" * 32
    assert "torch 2.13.0" in tags["velodrome.packages"]
    assert (tags["mlflow.user"], tags["mlflow.source.name"]) == ("ada", FACTS["command"])
    assert tags["velodrome.inactive"] == "momentum"
    (given,) = run.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("builtin:digits", "f" * 32)
    assert [(tag.key, tag.value) for tag in given.tags] == [("mlflow.data.context", "training")]


def test_parameter_left_out_is_sent_with_its_default(store: str, mlflow: Any, tell: Tell) -> None:
    family = FamilySpec(name="text_cnn", reference="text_cnn", space={"parameters": SPACE["parameters"][:3]})
    story = tell(families=(family,))
    trial = story.start(story.ask("text_cnn", 0))
    trial.params.pop("hidden")
    story.end(trial, "complete", 0.5)
    story.sender(store).send_once()
    run = runs_of(mlflow, story)["text_cnn-0000"]
    assert run.data.params == {"learning_rate": "0.01", "optimizer": "adam", "momentum": "0.0"}
    assert run.data.tags["velodrome.inactive"] == "momentum"


def test_experiment_and_parent_explain_the_sweep(store: str, mlflow: Any, tell: Tell) -> None:
    story = tell()
    story.complete_trial("rnn", 3, value=0.75)
    story.conclude()
    story.sender(store).send_once()
    runs = runs_of(mlflow, story)
    experiment = mlflow.get_experiment_by_name(story.spec.name)
    assert experiment.tags["mlflow.experiment.primaryMetric.name"] == "best/accuracy"
    assert experiment.tags["mlflow.experiment.primaryMetric.greaterIsBetter"] == "True"
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    text = experiment.tags["mlflow.note.content"]
    assert text == runs[story.spec.name].data.tags["mlflow.note.content"]
    training = f"#/experiments/{experiment.experiment_id}/runs"
    link = f"[rnn-0003]({training}/{runs['rnn-0003'].info.run_id}?workflowType=machine_learning)"
    (first, *_) = text.split("\n")
    for part in (
        link,
        "0.75",
        "(learning_rate 0.0025, optimizer adam)",
        f"[curves]({training}?workflowType=",
    ):
        assert part in first  # all that MLflow shows before a click
    for part in (link, "0.75", FACTS["command"], FACTS["git"]["commit"], "seed 0", "torch 2.13.0"):
        assert part in text


def test_parent_run_of_several_objectives_has_a_front(store: str, mlflow: Any, tell: Tell) -> None:
    goals = (
        Objective(metric="val/accuracy", direction="maximize"),
        Objective(metric="latency_ms", direction="minimize"),
    )
    story = tell(objectives=goals)
    for number, values in enumerate([[0.9, 5.0], [0.8, 1.0], [0.7, 2.0]]):
        trial = story.start(story.ask("rnn", number))
        story.end(trial, "complete", values[0])
        trial.objective = values
        story.tell("ended", {}, trial)
    story.conclude()
    story.sender(store).send_once()
    runs = runs_of(mlflow, story)
    text = runs[story.spec.name].data.tags["mlflow.note.content"]
    assert "rnn-0000" in text
    assert "rnn-0001" in text
    assert "rnn-0002" not in text
    assert runs["rnn-0001"].data.metrics["best/latency_ms"] == 1.0


def test_a_confirmation_is_a_child_with_a_name_of_its_own(store: str, mlflow: Any, tell: Tell) -> None:
    story = tell()
    story.complete_trial("rnn", 0, value=0.7)
    again = story.start(story.ask("rnn", 0, role="confirm"))
    again.origin = {"family": "rnn", "number": 0}
    story.end(again, "complete", 0.99)
    again.metrics["test/accuracy"] = 0.97
    story.tell("ended", {}, again)
    story.conclude()
    story.sender(store).send_once()
    runs = runs_of(mlflow, story)
    confirmed = runs["confirm-rnn-0000"].data.metrics
    assert confirmed["test/accuracy"] == 0.97
    assert confirmed["confirm/accuracy"] == 0.99
    assert "best/accuracy" not in confirmed  # no bar and no place among the trials
    assert "val/accuracy 0.7**" in runs[story.spec.name].data.tags["mlflow.note.content"]
    (experiment,) = {run.info.experiment_id for run in runs.values()}
    found = mlflow.search_runs([experiment], "tags.`velodrome.role` = 'confirm'")
    assert [run.info.run_name for run in found] == ["confirm-rnn-0000"]


def test_metrics_of_a_class_have_a_section_behind_the_others(store: str, mlflow: Any, tell: Tell) -> None:
    story = tell()
    trial = story.start(story.ask("rnn", 0))
    story.end(trial, "complete", 0.5)
    one = {"precision_yes": 0.1, "recall_yes": 0.2, "f1_yes": 0.3}
    trial.metrics |= {f"val/{name}": value for name, value in one.items()} | {"val/f1_macro": 0.4}
    trial.metrics |= {f"test/{name}": value for name, value in one.items()}
    story.tell("ended", {}, trial)
    story.conclude()
    story.sender(store).send_once()
    metrics = runs_of(mlflow, story)["rnn-0000"].data.metrics
    assert metrics["value by class/best recall_yes"] == 0.2
    assert metrics["value by class/test f1_yes"] == 0.3
    assert metrics["best/f1_macro"] == 0.4
    assert not [name for name in metrics if name.endswith("_yes") and not name.startswith("value by class/")]
    assert max({name.partition("/")[0] for name in metrics if "/" in name}) == "value by class"


def test_shared_view_opens_on_curves_and_parameters_of_the_trials(
    store: str, mlflow: Any, tell: Tell
) -> None:
    story = tell()
    story.complete_trial("rnn", 0)
    story.conclude()
    story.sender(store).send_once()
    experiment = mlflow.get_experiment_by_name(story.spec.name)
    text = experiment.tags["mlflow.note.content"]
    (key,) = set(re.findall(r"viewStateShareKey=([\w-]+)\)", text))
    view = json.loads(experiment.tags[f"mlflow.sharedViewState.{key}"])
    assert (
        view["searchFilter"]
        == f"tags.`velodrome.sweep` = '{story.spec.name}' and tags.`velodrome.role` = 'search'"
    )
    found = mlflow.search_runs(
        [experiment.experiment_id], view["searchFilter"], order_by=[view["orderByKey"]]
    )
    assert [run.info.run_name for run in found] == ["rnn-0000"]
    first = ["metrics.`best/accuracy`", "params.`learning_rate`", "params.`optimizer`"]
    assert view["selectedColumns"] == [*first, "tags.`velodrome.state`", "tags.`velodrome.reason`"]
    charts = [(chart["type"], chart.get("metricKey")) for chart in view["compareRunCharts"]]
    assert charts == [("LINE", "val/accuracy"), ("BAR", "best/accuracy"), ("PARALLEL", None)]
    (section,) = view["compareRunSections"]
    assert {chart["metricSectionId"] for chart in view["compareRunCharts"]} == {section["uuid"]}


def test_a_trial_is_followed_live_and_each_point_is_sent_once(store: str, mlflow: Any, tell: Tell) -> None:
    story, epochs = tell(), 4
    sender = story.sender(store)
    trial = story.start(story.ask("rnn", 0))
    for epoch in range(1, epochs + 1):
        story.report(trial, epoch, epoch / 10)
        sender.send_once()
        run = runs_of(mlflow, story)["rnn-0000"]
        assert run.info.status == "RUNNING"
        assert len(points_of(mlflow, run, "val/accuracy")) == epoch
    story.end(trial, "complete", 0.4)
    sender.send_once()
    assert runs_of(mlflow, story)["rnn-0000"].info.status == "FINISHED"


def test_a_second_attempt_adds_only_epochs_that_are_new(store: str, mlflow: Any, tell: Tell) -> None:
    story = tell()
    sender = story.sender(store)
    trial = story.start(story.ask("rnn", 0))
    story.report(trial, 1, 0.1)
    story.report(trial, 2, 0.2)
    trial.state = "waiting"
    story.tell("attempt-ended", {"attempt": "a", "outcome": "worker-died", "detail": ""}, trial)
    sender.send_once()
    assert runs_of(mlflow, story)["rnn-0000"].info.status == "SCHEDULED"
    story.start(trial)
    story.report(trial, 2, 0.25)
    story.report(trial, 3, 0.3)
    story.end(trial, "complete", 0.3)
    sender.send_once()
    run = runs_of(mlflow, story)["rnn-0000"]
    assert points_of(mlflow, run, "val/accuracy") == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert (run.info.status, run.data.tags["velodrome.attempts"]) == ("FINISHED", "2")


def test_a_trial_that_is_tried_again_loses_its_reason(store: str, mlflow: Any, tell: Tell) -> None:
    story = tell()
    sender = story.sender(store)
    trial = story.start(story.ask("rnn", 0))
    story.end(trial, "failed", reason="out-of-memory: 3 GiB more")
    sender.send_once()
    trial.state, trial.reason = "waiting", None
    story.tell("retry", {}, trial)
    story.start(trial)
    story.report(trial, 1, 0.5)
    story.end(trial, "complete", 0.5)
    sender.send_once()
    run = runs_of(mlflow, story)["rnn-0000"]
    assert (run.info.status, run.data.tags["velodrome.reason"]) == ("FINISHED", "")
    assert run.data.metrics["best/accuracy"] == 0.5


def test_trial_that_waits_long_gets_a_run(store: str, mlflow: Any, tell: Tell) -> None:
    story = tell()
    sender = story.sender(store)
    story.ask("rnn", 0)
    sender.send_once()
    assert "rnn-0000" not in runs_of(mlflow, story)
    story.now += 10
    sender.send_once()
    assert runs_of(mlflow, story)["rnn-0000"].info.status == "SCHEDULED"


def test_a_sweep_that_goes_on_is_running_again(store: str, mlflow: Any, tell: Tell) -> None:
    story = tell()
    sender = story.sender(store)
    story.conclude("stopped")
    sender.send_once()
    story.tell("session", {"host": "here", "pid": 2}, None, state="running")
    sender.send_once()
    assert runs_of(mlflow, story)[story.spec.name].info.status == "RUNNING"
    story.conclude()
    sender.send_once()
    assert runs_of(mlflow, story)[story.spec.name].info.status == "FINISHED"


def test_a_died_machine_leaves_nothing_running(store: str, mlflow: Any, tell: Tell) -> None:
    story = tell()
    trial = story.start(story.ask("rnn", 0))
    story.report(trial, 1, 0.5)
    story.sender(store).send_once()
    assert runs_of(mlflow, story)["rnn-0000"].info.status == "RUNNING"
    story.sender(store).reconcile(abandoned=True)  # the next command, whatever it is
    runs = runs_of(mlflow, story)
    assert runs["rnn-0000"].info.status == "SCHEDULED"
    assert runs[story.spec.name].info.status == "KILLED"


def test_a_stray_run_of_two_processes_at_once_is_stopped(store: str, mlflow: Any, tell: Tell) -> None:
    story = tell()
    story.complete_trial("rnn", 0)
    sender = story.sender(store)
    sender.send_once()
    run = runs_of(mlflow, story)["rnn-0000"]
    tags = {name: value for name, value in run.data.tags.items() if name != "mlflow.runName"}
    stray = mlflow.create_run(run.info.experiment_id, tags=tags, run_name="stray")
    story.conclude()
    sender.send_once()
    assert mlflow.get_run(stray.info.run_id).info.status == "KILLED"


def test_sender_cuts_long_values_and_sends_many_points(store: str, mlflow: Any, tell: Tell) -> None:
    story = tell()
    trial = story.start(story.ask("rnn", 0, widths=list(range(5000))))
    for epoch in range(1, 401):
        trial.epochs = epoch
        story.tell("reported", {"epoch": epoch, "metrics": {"a": 1.0, "b@10": 2.0, "../x": 3.0}}, trial)
    story.end(trial, "failed", reason="error: " + "x" * 20_000)
    story.sender(store).send_once()
    run = runs_of(mlflow, story)["rnn-0000"]
    assert set(run.data.metrics) >= {"a", "b_10", "x"}
    assert len(points_of(mlflow, run, "a")) == 400
    assert len(run.data.params["widths"]) == 6000
    assert len(run.data.tags["velodrome.reason"]) == 8000


def test_tracking_store_is_in_wal_mode_and_writes_nothing_elsewhere(
    store: str, tell: Tell, tmp_path: Path
) -> None:
    story = tell()
    story.complete_trial("rnn", 0)
    story.conclude()
    story.sender(store).send_once()
    connection = sqlite3.connect(store.removeprefix("sqlite:///"))
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    assert list((tmp_path / "cwd").iterdir()) == []


def prepare_and_wait(sender: Sender) -> None:
    """Waits for the end of what `prepare` does in a thread."""
    sender.prepare()
    for thread in threading.enumerate():
        if thread.name == "velodrome-tracking-prepares":
            thread.join(30)


def test_sender_prepare_connects_once_and_writes_nothing(store: str, mlflow: Any, tell: Tell) -> None:
    story, reached = tell(), []

    def noting(uri: str) -> TrackingStore:
        reached.append(uri)
        return connect(uri)

    story.complete_trial("rnn", 0)
    sender = story.sender(store, connect=noting)
    prepare_and_wait(sender)
    assert reached == [store]
    assert mlflow.get_experiment_by_name(story.spec.name) is None
    sender.send_once()
    assert reached == [store]
    assert len(runs_of(mlflow, story)) == 2


def test_sender_prepare_failure_is_left_to_the_first_pass(
    store: str, mlflow: Any, tell: Tell, caplog: pytest.LogCaptureFixture
) -> None:
    story, answers = tell(), iter([OSError("no route"), TrackingUnavailable("nobody answers")])

    def reaching(uri: str) -> TrackingStore:
        raise next(answers)

    story.complete_trial("rnn", 0)
    sender = story.sender(store, connect=reaching)
    prepare_and_wait(sender)
    assert caplog.messages == []
    with pytest.raises(TrackingUnavailable, match="nobody answers"):
        sender.send_once()


def test_resting_sender_is_woken_by_new_events(
    store: str, mlflow: Any, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    story = tell()
    monkeypatch.setattr("infra.tracking.sender.INTERVAL_S", 600.0)
    monkeypatch.setattr("infra.tracking.sender.LONGEST_INTERVAL_S", 600.0)
    sender = story.sender(store)
    sender.start()
    deadline = time.monotonic() + 60
    while sender.passes == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    story.complete_trial("rnn", 0)
    while sender.count_unsent() and time.monotonic() < deadline:
        sender.wake()
        time.sleep(0.01)
    sender.stop()
    assert len(runs_of(mlflow, story)) == 2


def test_damaged_tracking_store_is_unavailable_by_name(tmp_path: Path) -> None:
    from infra.errors import Unavailable

    home = Home(tmp_path)
    (tmp_path / "mlflow.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(Unavailable, match=r"mlflow\.db"):
        prepare_tracking(home.mlflow_uri, home)


def test_two_ledgers_with_one_name_do_not_share_runs(store: str, mlflow: Any, tell: Tell) -> None:
    first, second = tell(name="twice", experiment="one-a"), tell(name="twice", experiment="one-a")
    second.ledger.close()
    second = Story(second.folder.with_name("later"), spec=first.spec, now=first.now + 1000)
    for story, value in ((first, 0.1), (second, 0.2)):
        story.complete_trial("rnn", 0, value=value)
        story.sender(store).send_once()
    found = mlflow.search_runs([mlflow.get_experiment_by_name("one-a").experiment_id])
    values = {run.data.metrics["best/accuracy"] for run in found if run.info.run_name == "rnn-0000"}
    assert values == {0.1, 0.2}


def test_a_later_version_has_an_experiment_of_its_own(store: str, mlflow: Any, tell: Tell) -> None:
    story = tell()
    newer = Story(story.folder.with_name("newer"), spec=replace(story.spec, version=2))
    newer.complete_trial("rnn", 0)
    newer.sender(store).send_once()
    assert mlflow.get_experiment_by_name(f"{story.spec.name}@2") is not None
