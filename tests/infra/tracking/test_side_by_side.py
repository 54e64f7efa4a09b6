"""Runs that are sent to a server several at once: each in its own order and once, whatever others do."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from infra.tracking.client import TrackingStore, TrackingUnavailable
from infra.tracking.run_writer import SERVER_RUNS_AT_ONCE, SIDE_BY_SIDE, for_each
from tests.infra.tracking.conftest import points_of, runs_of
from tests.infra.tracking.failing import FailingClient, check_whole, send_until_sent, short_story
from tests.infra.tracking.story import Story
from tests.spread import some_of

Tell = Callable[..., Story]
ALL_IN_S = 20.0
SERVER = "http://nowhere.invalid"


class WatchedClient:
    """MLflow's client behind a server's address, and what is asked of it.

    Attributes:
        asked: method and run of each call, in the order in which they began.
        most: how many were under way at once.
        before: called with each method and run, before it is done.
    """

    def __init__(self, client: Any, before: Callable[[str, str], None] = lambda method, run: None) -> None:
        self._client, self._before, self._turn = client, before, threading.Lock()
        self.asked: list[tuple[str, str]] = []
        self.under_way = self.most = 0

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._client, name)

        def call(*args: Any, **named: Any) -> Any:
            run = named.get("run_name") or self._name_of(args[0] if args else "")
            with self._turn:
                self.asked.append((name, run))
                self.under_way += 1
                self.most = max(self.most, self.under_way)
            try:
                self._before(name, run)
                return real(*args, **named)
            finally:
                with self._turn:
                    self.under_way -= 1

        return call

    def _name_of(self, run_id: object) -> str:
        from mlflow.exceptions import MlflowException

        if not isinstance(run_id, str):
            return ""
        try:
            return str(self._client.get_run(run_id).info.run_name)
        except MlflowException:
            return ""

    def at_a_server(self, _uri: str) -> TrackingStore:
        """As `infra.tracking.client.connect` of a server."""
        return TrackingStore(SERVER, self)  # type: ignore[arg-type]

    def calls_of(self, run: str) -> list[str]:
        """What was asked of one run, in order."""
        return [method for method, of in self.asked if of == run]


class BreakingClient(WatchedClient):
    """Breaks the connection at one call, before it is done or after."""

    def __init__(self, client: Any, at: int, done: bool) -> None:
        super().__init__(client)
        self._at, self._done, self.broken = at, done, ""

    def __getattr__(self, name: str) -> Any:
        watched = super().__getattr__(name)

        def call(*args: Any, **named: Any) -> Any:
            with self._turn:
                now = not self.broken and len(self.asked) == self._at
                self.broken = name if now else self.broken
            if now and not self._done:
                raise ConnectionError("broken")
            answer = watched(*args, **named)
            if now:
                raise ConnectionError("broken")
            return answer

        return call


def many_trials(tell: Tell, count: int = 8) -> Story:
    """As many complete trials."""
    story = tell()
    for number in range(count):
        story.complete_trial("rnn", number, epochs=2)
    story.conclude()
    return story


@pytest.fixture
def none_left() -> Iterator[None]:
    """No thread is left behind."""
    yield
    assert [thread.name for thread in threading.enumerate() if thread.name == SIDE_BY_SIDE] == []


@pytest.mark.usefixtures("none_left")
def test_four_runs_are_on_their_way_to_a_server_at_once(mlflow: Any, tell: Tell) -> None:
    """None of the first four is answered before all are asked for."""
    together = threading.Barrier(SERVER_RUNS_AT_ONCE)

    def meet(method: str, run: str) -> None:
        if method == "create_run" and run.startswith("rnn-"):
            together.wait(ALL_IN_S)

    client, story = WatchedClient(mlflow, meet), many_trials(tell)
    story.sender(SERVER, connect=client.at_a_server).send_once()
    assert client.most == SERVER_RUNS_AT_ONCE
    assert len(runs_of(mlflow, story)) == 9


@pytest.mark.usefixtures("none_left")
def test_calls_of_many_runs_reach_their_own_run_in_order_and_once(mlflow: Any, tell: Tell) -> None:
    client, story = WatchedClient(mlflow), many_trials(tell)
    story.sender(SERVER, connect=client.at_a_server).send_once()
    runs = runs_of(mlflow, story)
    for number in range(8):
        name = f"rnn-{number:04d}"
        assert client.calls_of(name) == ["create_run", "log_batch", "log_inputs", "set_terminated"]
        assert points_of(mlflow, runs[name], "val/accuracy") == [(1, 0.45), (2, 0.9)]


def test_whole_sweep_takes_four_calls_a_trial_and_ten_for_itself(mlflow: Any, tell: Tell) -> None:
    """Over a long wire calls are what takes time."""
    client, story = WatchedClient(mlflow), many_trials(tell)
    story.sender(SERVER, connect=client.at_a_server).send_once()
    asked = Counter(method for method, run in client.asked if run.startswith("rnn-"))
    assert asked.total() == 4 * 8
    assert len(client.asked) - asked.total() <= 10, client.asked


@pytest.mark.usefixtures("none_left")
def test_run_that_fails_keeps_no_other_from_being_sent_and_is_sent_later(mlflow: Any, tell: Tell) -> None:
    """Those that were under way are noted as sent; the cursor stands, the next pass sends what is left."""
    failed, together = threading.Event(), threading.Barrier(SERVER_RUNS_AT_ONCE)

    def fail_second(method: str, run: str) -> None:
        if method == "create_run" and run.startswith("rnn-") and not failed.is_set():
            together.wait(ALL_IN_S)
        if (method, run) == ("log_batch", "rnn-0001") and not failed.is_set():
            failed.set()
            raise TimeoutError("no answer")
        if method == "log_batch" and run.startswith("rnn-"):
            failed.wait(ALL_IN_S)

    client, story = WatchedClient(mlflow, fail_second), many_trials(tell)
    sending = story.sender(SERVER, connect=client.at_a_server)
    with pytest.raises(TrackingUnavailable, match="no answer"):
        sending.send_once()
    assert sending.count_unsent() > 0
    statuses = {name: run.info.status for name, run in runs_of(mlflow, story).items()}
    assert statuses == {
        story.spec.name: "RUNNING", "rnn-0001": "RUNNING",
        **dict.fromkeys(("rnn-0000", "rnn-0002", "rnn-0003"), "FINISHED"),
    }  # fmt: skip
    sending.send_once()
    runs = runs_of(mlflow, story)
    assert {run.info.status for run in runs.values()} == {"FINISHED"}
    assert len(runs) == 9
    whole = ["create_run", "log_batch", "log_inputs", "set_terminated"]
    assert [client.calls_of(f"rnn-{number:04d}") for number in (0, 2, 3)] == [whole] * 3


@pytest.mark.parametrize("when", ["before", "after"])
def test_server_with_any_failing_call_gets_everything_once(mlflow: Any, tell: Tell, when: str) -> None:
    """As one that is asked one by one; which call is the failing one is a matter of chance here. A third of
    them; with `EVERY_WRITE`, as `make test-all` has it, each."""
    smooth = FailingClient(mlflow, lambda count: "", reads=True)
    send_until_sent(short_story(tell), lambda uri: TrackingStore(SERVER, smooth), SERVER)  # type: ignore[arg-type]
    for broken in some_of(smooth.writes, 3):
        story = short_story(tell)

        def fails(count: int, broken: int = broken) -> str:
            return when if count == broken else ""

        client = FailingClient(mlflow, fails, reads=True)
        send_until_sent(story, lambda uri, client=client: TrackingStore(SERVER, client), SERVER)
        check_whole(mlflow, story)


@pytest.mark.parametrize("done", [False, True])
def test_connection_that_breaks_at_any_call_fails_no_pass_and_makes_nothing_twice(
    mlflow: Any, tell: Tell, done: bool
) -> None:
    """Before or after the call is done; but for the experiment's making, which the next pass looks for. A
    third of the calls; with `EVERY_WRITE` each."""
    smooth = WatchedClient(mlflow)
    short_story(tell).sender(SERVER, connect=smooth.at_a_server).send_once()
    for broken in some_of(len(smooth.asked), 3):
        client, story = BreakingClient(mlflow, broken - 1, done), short_story(tell)
        failures = send_until_sent(story, client.at_a_server, SERVER)
        assert failures == (client.broken == "create_experiment"), client.broken
        check_whole(mlflow, story)


def test_runs_of_a_file_are_written_by_one_thread_in_order(store: str, mlflow: Any, tell: Tell) -> None:
    """SQLite has one writer: others would only wait for it, or be refused."""
    threads = set[int]()
    client = WatchedClient(mlflow, lambda method, run: threads.add(threading.get_ident()))
    story = many_trials(tell)
    story.sender(store, connect=lambda uri: TrackingStore(uri, client)).send_once()  # type: ignore[arg-type]
    assert (client.most, threads) == (1, {threading.get_ident()})
    begun = [run for method, run in client.asked if method == "create_run"]
    assert begun == [story.spec.name, *(f"rnn-{number:04d}" for number in range(8))]


def test_after_a_failure_no_other_item_begins_and_the_first_is_raised(mlflow: Any) -> None:
    tracking, together, done = TrackingStore(SERVER, mlflow), threading.Barrier(2), list[int]()

    def fail_together(item: int) -> None:
        together.wait(ALL_IN_S)
        raise ValueError(f"item {item}")

    def fail_at_ten(item: int) -> None:
        done.append(item)
        if item == 10:
            raise ValueError("item 10")

    with pytest.raises(ValueError, match="item 0"):
        for_each([0, 1], fail_together, tracking)
    with pytest.raises(ValueError, match="item 10"):
        for_each(range(10_000), fail_at_ten, tracking)
    assert len(done) < 5_000
    for_each([], fail_together, tracking)
