"""MLflow is away, hangs, or has lost what it had: training does not wait, and every point arrives once."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from infra.ledger import views
from infra.tracking import backoff, sender
from infra.tracking.client import TrackingStore
from tests.faults.harness import Stage, have_ended, stretch_limit, until
from tests.faults.outcome import Outcome, Pace, case
from tests.infra.tracking.conftest import points_of, runs_of, shared_store
from tests.infra.tracking.failing import FailingClient, check_whole, copy_empty_store, short_story
from tests.infra.tracking.servers import Server
from tests.infra.tracking.story import Story, a_spec


@contextmanager
def shorten_rests() -> Iterator[list[str]]:
    """Rests a hundred times shorter; gives what the sender says meanwhile."""
    said: list[str] = []

    class Said(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    handler = Said()
    sender.log.addHandler(handler)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sender, "INTERVAL_S", 0.02)
        patch.setattr(sender, "IDLE_SHARE", 0)
        patch.setattr(backoff, "FIRST_S", 0.01)
        patch.setattr(backoff, "LONGEST_S", 0.05)
        try:
            yield said
        finally:
            sender.log.removeHandler(handler)


def client() -> Any:
    """MLflow's own, on a store of this process's."""
    from mlflow import MlflowClient

    return MlflowClient(shared_store(), registry_uri=shared_store())


def story_in(folder: Path) -> Story:
    """A sweep whose name no other has."""
    return Story(folder, spec=a_spec(f"story-{time.monotonic_ns()}"))


# -- never there, and gone ---------------------------------------------------------------------------------


@case("F27", "MLflow is down when a sweep starts", fast=True)
def down_at_start(folder: Path, pace: Pace) -> Outcome:
    """Nobody waits for it, it is said once, and what has gathered is sent when it is there."""
    there = threading.Event()
    mlflow = client()
    refusing = FailingClient(mlflow, lambda count: "" if there.is_set() else "before")
    story = short_story(lambda: story_in(folder / "home"))
    with shorten_rests() as said:
        began = time.monotonic()
        sending = story.sender(shared_store(), connect=refusing.connect)
        sending.start()
        started_s = time.monotonic() - began
        assert sending.drain(5.0) > 0
        until(lambda: refusing.writes >= 5, 10)
        there.set()
        unsent = sending.drain(stretch_limit(20.0))
        sending.stop()
    story.ledger.close()
    assert started_s < stretch_limit(0.5)
    assert len([text for text in said if "tracking is away" in text]) == 1
    assert len([text for text in said if "tracking answers again" in text]) == 1
    check_whole(mlflow, story)
    _never_there(folder)
    return Outcome(lost=unsent)


def _never_there(folder: Path) -> None:
    """A file stands where the embedded store's folder should be."""
    story = short_story(lambda: story_in(folder / "other"))
    (folder / "gone").write_text("")
    sending = story.sender(f"sqlite:///{folder / 'gone'}/mlflow.db")
    assert sending.drain(20.0) > 0
    sending.stop()
    story.ledger.close()


@case("F28", "MLflow goes down while trials run, and comes back", fast=True, limit_s=1200)
def down_for_a_while(folder: Path, pace: Pace) -> Outcome:
    """Steps go on as before; then every point is there once and in order."""
    if pace.fast:
        return _beside_a_failing_client(folder, "before")
    return _beside_a_server(folder, 300.0, Server.kill, Server.start)


@case("F29", "MLflow's server is stopped: it takes calls and never answers", fast=True, limit_s=1200)
def hangs(folder: Path, pace: Pace) -> Outcome:
    """As when it is down: no step waits for an answer."""
    if pace.fast:
        return _beside_a_failing_client(folder, "hang")
    return _beside_a_server(
        folder, 180.0, lambda s: s.signal(signal.SIGSTOP), lambda s: s.signal(signal.SIGCONT)
    )


# -- in one process: a loop that reports, and the sender's thread ------------------------------------------

STEP_S = 0.02


def _beside_a_failing_client(folder: Path, how: str) -> Outcome:
    """Reports at a steady pace before, during and after the trouble, in the sender's own process."""
    trouble, release = threading.Event(), threading.Event()
    mlflow = client()

    def fails(count: int) -> str:
        if not trouble.is_set():
            return ""
        if how == "hang":
            release.wait(20)
        return "before"

    story = story_in(folder)
    with shorten_rests() as said:
        sending = story.sender(shared_store(), connect=FailingClient(mlflow, fails).connect)
        sending.start()
        trial = story.start(story.ask("rnn", 0))
        slowest = _report(story, trial, range(1, 21))
        trouble.set()
        slowest = max(slowest, _report(story, trial, range(21, 81)))
        began = time.monotonic()
        assert sending.drain(0.3) > 0
        assert time.monotonic() - began < stretch_limit(2.0)
        trouble.clear()
        release.set()
        slowest = max(slowest, _report(story, trial, range(81, 101)))
        story.end(trial, "complete", 0.9)
        story.conclude()
        until(lambda: sending.drain(10.0) == 0, 30.0)
        sending.stop()
    assert slowest < stretch_limit(1.0)
    assert len([text for text in said if "tracking is away" in text]) <= 1
    run = runs_of(mlflow, story)["rnn-0000"]
    assert run.info.status == "FINISHED"
    note = f"{slowest:.2f} s a step at most"
    return _compare_points(story, {trial.number: points_of(mlflow, run, "val/accuracy")}, note)


def _report(story: Story, trial: Any, epochs: range) -> float:
    """The slowest step."""
    slowest = 0.0
    for epoch in epochs:
        began = time.monotonic()
        time.sleep(STEP_S)
        story.report(trial, epoch, epoch / 100)
        slowest = max(slowest, time.monotonic() - began)
    return slowest


def _compare_points(story: Story, sent: dict[int, list[tuple[int, float]]], note: str) -> Outcome:
    lost = duplicated = silent = 0
    for trial in views.trials(story.ledger, story.sweep_id):
        events = views.trial_events(story.ledger, story.sweep_id, trial, "reported")
        told = [(e.payload["epoch"], e.payload["metrics"]["val/accuracy"]) for e in events]
        lost, duplicated, silent = _differences(told, sent[trial.number])
    story.ledger.close()
    return Outcome(lost=lost, duplicated=duplicated, silent=silent, note=note)


def _differences(told: list[tuple[int, float]], sent: list[tuple[int, float]]) -> tuple[int, int, int]:
    """Points that are not there, that are there twice, and whether they are in another order."""
    return len(set(told) - set(sent)), len(sent) - len(set(sent)), int(sorted(sent) != sent)


# -- a real sweep and a real server ------------------------------------------------------------------------

SWEEP = """\
name: tracked
data: {{source: none}}
objective: {{metric: accuracy, direction: maximize}}
budget: {{trials: {trials}, epochs: 200}}
search: {{sampler: random, pruner: none}}
resources: {{lanes: 1}}
families:
  tests.faults.scripted:train:
    space: {{learning_rate: {{type: float, low: 1e-4, high: 1e-1, log: true}}}}
"""
PAUSE_S = 0.1


def _beside_a_server(
    folder: Path, outage_s: float, down: Callable[[Server], None], up: Callable[[Server], None]
) -> Outcome:
    """One lane, steps of 0.1 s; the outage begins after the first quiet minute."""
    server = Server(folder / "server")
    try:
        stage = Stage(folder, environment={"MLFLOW_TRACKING_URI": server.url, "SCRIPTED_SLEEP": str(PAUSE_S)})
        quiet_s = 60.0
        trials = int((2 * quiet_s + outage_s) / (200 * PAUSE_S)) + 1
        stage.write("s.yaml", SWEEP.format(trials=trials))
        command = stage.start("sweep", "s.yaml")
        stage.wait_for("tracked", have_ended(int(quiet_s / (200 * PAUSE_S))))
        began = time.time()
        down(server)
        time.sleep(outage_s)
        over = time.time()
        up(server)
        _, err = command.communicate(timeout=600)
        assert command.returncode == 0, err
        assert "not sent yet" not in err, err
        return _of_server(stage, server, began, over)
    finally:
        server.end()


def _of_server(stage: Stage, server: Server, began: float, over: float) -> Outcome:
    from mlflow import MlflowClient

    mlflow = MlflowClient(server.url)
    experiment = mlflow.get_experiment_by_name("tracked")
    runs = {run.info.run_name: run for run in mlflow.search_runs([experiment.experiment_id])}
    ledger, row = stage.ledger(), stage.sweep("tracked")
    steps: list[tuple[float, float]] = []  # when, and how long after the step before
    counts = [0, 0, 0]
    for trial in stage.trials("tracked"):
        events = views.trial_events(ledger, row.id, trial, "reported")
        steps += [(b.at, b.at - a.at) for a, b in itertools.pairwise(events)]
        told = [(e.payload["epoch"], e.payload["metrics"]["val/accuracy"]) for e in events]
        sent = points_of(mlflow, runs[f"{trial.family}-{trial.number:04d}"], "val/accuracy")
        counts = [a + b for a, b in zip(counts, _differences(told, sent), strict=True)]
    ledger.close()
    usual = statistics.mean(s for at, s in steps if not began <= at <= over)
    during = statistics.mean(s for at, s in steps if began <= at <= over)
    assert during <= 1.05 * usual, (during, usual)
    note = f"step rate {100 * usual / during:.1f} % of usual"
    return Outcome(lost=counts[0], duplicated=counts[1], silent=counts[2], note=note)


# -- what it had is lost -----------------------------------------------------------------------------------


@case("F31", "kill -9 with much unsent, and MLflow comes back with an empty database", fast=True)
def comes_back_empty(folder: Path, pace: Pace) -> Outcome:
    """The next process sends all of it again, and says why."""
    from mlflow import MlflowClient

    story = short_story(lambda: story_in(folder / "home"))
    clients = []
    for name in ("before", "after"):
        uri = f"sqlite:///{folder / name}.db"
        copy_empty_store(shared_store(), uri)
        clients.append(MlflowClient(uri, registry_uri=uri))
    pid = os.fork()
    if pid == 0:
        dying = FailingClient(clients[0], lambda count: "" if count < 8 else _die())
        story.sender(shared_store(), connect=dying.connect).send_once()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    with shorten_rests() as said:
        tracking = TrackingStore(shared_store(), clients[1])
        sending = story.sender(shared_store(), connect=lambda uri: tracking)
        sending.send_once()
        sending.stop()
    assert any("has lost this sweep" in text for text in said)
    check_whole(clients[1], story)
    story.ledger.close()
    return Outcome()


def _die() -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return ""
