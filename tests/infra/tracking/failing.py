"""A tracking that fails at chosen writes, and a short sweep to be sent there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from infra.tracking.client import TrackingStore, TrackingUnavailable
from tests.infra.tracking.conftest import points_of, runs_of
from tests.infra.tracking.story import Story

Tell = Callable[..., Story]
WRITES = {"create_experiment", "create_run", "log_batch", "log_inputs", "set_terminated", "update_run"}


class FailingClient:
    """MLflow's client, which fails at chosen writes (at any calls, with `reads`), before or after they are
    done."""

    def __init__(self, client: Any, fails: Callable[[int], str], *, reads: bool = False) -> None:
        self._client, self._fails, self._reads = client, fails, reads
        self.writes = 0
        self.created: list[str] = []

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._client, name)
        return self._write(name, real) if self._reads or name in WRITES else real

    def _write(self, name: str, real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.writes += 1
            when = self._fails(self.writes)
            if when == "before":
                raise ConnectionError("refused")
            answer = real(*args, **kwargs)
            if name == "create_run":
                self.created.append(kwargs["run_name"])
            if when == "after":
                raise TimeoutError("no answer")
            return answer

        return call

    def connect(self, uri: str) -> TrackingStore:
        """As `infra.tracking.client.connect`."""
        return TrackingStore(uri, self)


def short_story(tell: Tell) -> Story:
    """Two trials, one pruned."""
    story = tell()
    story.complete_trial("rnn", 0, value=0.8, epochs=2)
    pruned = story.start(story.ask("rnn", 1))
    story.report(pruned, 1, 0.1)
    story.end(pruned, "pruned", 0.1)
    story.conclude()
    return story


def check_whole(mlflow: Any, story: Story) -> None:
    """Every run and every point of `short_story` is there exactly once."""
    runs = runs_of(mlflow, story)
    statuses = {name: run.info.status for name, run in runs.items()}
    assert statuses == {story.spec.name: "FINISHED", "rnn-0000": "FINISHED", "rnn-0001": "KILLED"}
    assert points_of(mlflow, runs["rnn-0000"], "val/accuracy") == [(1, 0.4), (2, 0.8)]
    assert points_of(mlflow, runs["rnn-0001"], "val/accuracy") == [(1, 0.1)]
    assert points_of(mlflow, runs["rnn-0000"], "best/accuracy") == [(0, 0.8)]
    assert runs["rnn-0000"].data.params["learning_rate"] == "0.01"
    assert len(runs["rnn-0001"].inputs.dataset_inputs) == 1


def send_until_sent(story: Story, connect: Any, store: str) -> int:
    """Tries again and again, as the thread does; how often it failed."""
    sending, failures = story.sender(store, connect=connect), 0
    while True:
        try:
            sending.send_once()
            return failures
        except TrackingUnavailable:
            failures += 1


def copy_empty_store(store: str, uri: str) -> None:
    """A fresh store, migrated in a fraction of the time."""
    import sqlite3

    template = sqlite3.connect(store.removeprefix("sqlite:///"))
    target = sqlite3.connect(uri.removeprefix("sqlite:///"))
    template.backup(target)
    for table in ("metrics", "latest_metrics", "params", "tags", "runs", "experiment_tags", "inputs"):
        target.execute(f"DELETE FROM {table}")
    target.execute("DELETE FROM experiments WHERE experiment_id != 0")
    target.commit()
    template.close()
    target.close()
