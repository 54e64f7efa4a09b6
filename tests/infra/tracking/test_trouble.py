"""Tracking that is away, hangs, lies, forgets or refuses (faults F27 to F31, F51)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from infra.tracking import backoff, sender
from infra.tracking.backoff import Backoff
from infra.tracking.client import TrackingStore, TrackingUnavailable, connect
from tests.infra.tracking.conftest import points_of, runs_of
from tests.infra.tracking.failing import (
    FailingClient,
    check_whole,
    copy_empty_store,
    send_until_sent,
    short_story,
)
from tests.infra.tracking.story import Story
from tests.spread import some_of

Tell = Callable[..., Story]


@pytest.mark.parametrize("when", ["before", "after"])
def test_sender_with_any_failing_call_delivers_everything_once(
    store: str, mlflow: Any, tell: Tell, when: str
) -> None:
    """Each call of the client in turn: what asks, and what makes the experiment, runs, points, inputs, tags
    and states; with `make test` a third of them. The same process tries again."""
    smooth = FailingClient(mlflow, lambda count: "", reads=True)
    send_until_sent(short_story(tell), smooth.connect, store)
    assert smooth.writes >= 14
    for broken in some_of(smooth.writes, 3):
        story = short_story(tell)
        client = FailingClient(
            mlflow, lambda count, broken=broken: when if count == broken else "", reads=True
        )  # type: ignore[misc]
        assert send_until_sent(story, client.connect, store) == 1
        check_whole(mlflow, story)


@pytest.mark.parametrize("when", ["before", "after"])
def test_sender_killed_at_any_write_leaves_no_second_run(
    store: str, mlflow: Any, tell: Tell, when: str
) -> None:
    for broken in range(1, 8):  # the experiment, the parent, and all of one trial
        story = short_story(tell)
        client = FailingClient(mlflow, lambda count, broken=broken: when if count == broken else "")  # type: ignore[misc]
        with pytest.raises(TrackingUnavailable):
            story.sender(store, connect=client.connect).send_once()
        story.sender(store).send_once()
        check_whole(mlflow, story)


def test_a_lost_outbox_makes_no_second_run_and_no_second_point(store: str, mlflow: Any, tell: Tell) -> None:
    story = short_story(tell)
    story.sender(store).send_once()
    for leftover in story.home.path.glob("outbox.db*"):
        leftover.unlink()
    client = FailingClient(mlflow, lambda count: "")
    again = story.sender(store, connect=client.connect)
    assert again.count_unsent() > 0
    again.send_once()
    assert client.created == []
    check_whole(mlflow, story)


def test_damaged_outbox_is_treated_as_lost(store: str, mlflow: Any, tell: Tell) -> None:
    story = short_story(tell)
    story.sender(store).send_once()
    for leftover in story.home.path.glob("outbox.db*"):
        leftover.unlink()
    story.home.outbox.write_bytes(b"garbage" * 1000)
    story.sender(store).send_once()
    check_whole(mlflow, story)


def test_tracking_store_that_was_emptied_gets_everything_again(
    store: str, tell: Tell, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    clients = []
    for name in ("former", "latter"):
        uri = f"sqlite:///{tmp_path}/{name}.db"
        copy_empty_store(store, uri)
        clients.append(MlflowClient(uri, registry_uri=uri))
    story = tell()
    tracking = TrackingStore(store, clients[0])
    sending = story.sender(store, connect=lambda uri: tracking)
    trial = story.start(story.ask("rnn", 0))
    story.report(trial, 1, 0.4)
    sending.send_once()
    tracking._client = clients[1]
    story.report(trial, 2, 0.8)
    story.end(trial, "complete", 0.8)
    story.conclude()
    sending.send_once()
    runs = runs_of(clients[1], story)
    assert points_of(clients[1], runs["rnn-0000"], "val/accuracy") == [(1, 0.4), (2, 0.8)]


def test_a_deleted_experiment_stays_deleted(store: str, mlflow: Any, tell: Tell) -> None:
    story = short_story(tell)
    sending = story.sender(store)
    sending.send_once()
    deleted = mlflow.get_experiment_by_name(story.spec.name)
    mlflow.delete_experiment(deleted.experiment_id)
    story.tell("session", {}, None, state="running")
    story.complete_trial("rnn", 2)
    story.conclude()
    sending.send_once()
    assert mlflow.get_experiment(deleted.experiment_id).lifecycle_stage == "deleted"
    found = mlflow.get_experiment_by_name(f"{story.spec.name}-2")
    names = {run.info.run_name for run in mlflow.search_runs([found.experiment_id])}
    assert names == {story.spec.name, "rnn-0000", "rnn-0001", "rnn-0002"}


def test_deleted_run_is_not_restored(
    store: str, mlflow: Any, tell: Tell, caplog: pytest.LogCaptureFixture
) -> None:
    story = tell()
    sending = story.sender(store)
    trial = story.start(story.ask("rnn", 0))
    story.report(trial, 1, 0.5)
    sending.send_once()
    mlflow.delete_run(runs_of(mlflow, story)["rnn-0000"].info.run_id)
    story.report(trial, 2, 0.6)
    story.end(trial, "complete", 0.6)
    story.complete_trial("rnn", 1)
    story.conclude()
    sending.send_once()
    assert set(runs_of(mlflow, story)) == {story.spec.name, "rnn-0001"}
    assert sending.count_unsent() == 0
    assert "was deleted in tracking" in caplog.text


def test_event_that_tracking_always_refuses_blocks_no_other(
    store: str, mlflow: Any, tell: Tell, caplog: pytest.LogCaptureFixture
) -> None:
    story = tell()
    sending = story.sender(store)
    trial = story.start(story.ask("rnn", 0))
    story.report(trial, 1, 0.5)
    sending.send_once()
    run_id = runs_of(mlflow, story)["rnn-0000"].info.run_id
    for leftover in story.home.path.glob("outbox.db*"):
        leftover.unlink()
    trial.params["learning_rate"] = 5.0  # parameters are write-once: another value is refused for ever
    story.end(trial, "complete", 0.5)
    story.sender(store).send_once()
    run = mlflow.get_run(run_id)
    assert (run.info.status, run.data.metrics["best/accuracy"]) == ("FINISHED", 0.5)
    assert "is left out" in caplog.text


# -- the thread --------------------------------------------------------------------------------------------


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals a hundred times shorter."""
    monkeypatch.setattr(sender, "INTERVAL_S", 0.02)
    monkeypatch.setattr(sender, "IDLE_SHARE", 0)
    monkeypatch.setattr(backoff, "FIRST_S", 0.01)
    monkeypatch.setattr(backoff, "LONGEST_S", 0.05)


@pytest.mark.usefixtures("hasty")
def test_drain_sends_what_was_written_a_moment_ago(store: str, mlflow: Any, tell: Tell) -> None:
    story = tell()
    sending = story.sender(store)
    sending.start()
    for number in range(3):
        story.complete_trial("rnn", number, epochs=1)
        assert sending.drain(20.0) == 0
        assert f"rnn-000{number}" in runs_of(mlflow, story)
    sending.stop()


def test_a_drain_that_moves_goes_on_and_one_that_stands_still_ends(
    store: str, mlflow: Any, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow tracking gets all of it, however short the limit; tracking that hangs ends it."""
    monkeypatch.setattr(sender, "PAGE_EVENTS", 4)
    hangs, release = threading.Event(), threading.Event()

    def slow(count: int) -> str:
        if hangs.is_set():
            release.wait(20)
        time.sleep(0.1)
        return ""

    story = tell()
    sending = story.sender(store, connect=FailingClient(mlflow, slow).connect)
    assert sending.drain(20.0) == 0
    for number in range(5):
        story.complete_trial("rnn", number, epochs=2)
    began = time.monotonic()
    assert sending.drain(1.5, while_it_moves=True) == 0
    assert time.monotonic() - began > 1.6
    hangs.set()
    story.complete_trial("rnn", 5, epochs=2)
    assert sending.drain(1.0, while_it_moves=True) > 0
    release.set()
    sending.stop()


# -- HTTP --------------------------------------------------------------------------------------------------


class Nonsense(BaseHTTPRequestHandler):
    """A server that answers everything as its path's first part says."""

    def do_GET(self) -> None:
        mode = self.server.mode  # type: ignore[attr-defined]
        self.server.asked += 1  # type: ignore[attr-defined]
        if mode == "hang":
            self.server.release.wait(20)  # type: ignore[attr-defined]
            return
        status = {"garbage": 200, "loop": 302}.get(mode) or int(mode)
        self.send_response(status)
        if mode == "loop":
            self.send_header("Location", self.path)
        if status in (429, 503):
            self.send_header("Retry-After", "7")
        body = b"<html>nothing here</html>"
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Any]:
    serving: Any = ThreadingHTTPServer(("127.0.0.1", 0), Nonsense)
    serving.mode, serving.asked, serving.release = "500", 0, threading.Event()
    thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield serving
    serving.release.set()
    serving.shutdown()
    thread.join()
    serving.server_close()


@pytest.mark.parametrize("mode", ["500", "503", "429", "404", "401", "garbage", "loop", "hang"])
def test_tracking_server_without_valid_answer_is_away(
    server: Any, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    server.mode = mode
    tracking = connect(f"http://ada:hunter2@127.0.0.1:{server.server_port}")
    began = time.monotonic()
    with pytest.raises(TrackingUnavailable) as found:
        tracking.call("get_experiment", "1")
    assert time.monotonic() - began < 3.0
    assert "hunter2" not in str(found.value)
    assert found.value.__cause__ is None


def test_refused_tracking_connection_is_away_and_shows_no_secret(
    tell: Tell, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    story = short_story(tell)
    sending = story.sender("http://ada:hunter2@127.0.0.1:9/")
    assert sending.drain(20.0) > 0
    sending.stop()
    assert "tracking is away" in caplog.text
    assert "hunter2" not in caplog.text
    assert b"hunter2" not in story.home.outbox.read_bytes()


def test_retry_after_is_honoured_and_waits_double(server: Any) -> None:
    now = [100.0]
    waiting = Backoff(f"http://127.0.0.1:{server.server_port}", clock=lambda: now[0])
    waiting.probe_server()
    assert server.asked == 0  # nothing has failed
    waits = []
    for _ in range(7):
        waiting.record_failure()
        waits.append(waiting.wait_s())
    assert waits == [1, 2, 4, 8, 16, 30, 30]
    for _ in range(2_000):  # a server that is away for a night
        waiting.record_failure()
    assert waiting.wait_s() == 30
    waiting.record_success()
    waiting.record_failure()
    server.mode = "503"
    with pytest.raises(TrackingUnavailable):
        waiting.probe_server()
    assert waiting.wait_s() == 7
    now[0] += 6.5
    assert waiting.wait_s() == 1
