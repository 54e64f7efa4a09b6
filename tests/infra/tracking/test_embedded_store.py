"""Runs written into MLflow's own file beside the same runs through its client."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from infra.tracking import embedded_store
from infra.tracking.client import TrackingStore, TrackingUnavailable, connect
from infra.tracking.sender import Sender
from tests.infra.tracking.conftest import points_of, runs_of
from tests.infra.tracking.failing import FailingClient, check_whole, copy_empty_store, short_story
from tests.infra.tracking.story import Story

Tell = Callable[..., Story]
WRITES = {"create_run", "log_batch", "log_inputs", "set_terminated", "update_run"}
CONTENT = {
    "runs": "SELECT {run}, r.source_type, r.source_name, r.entry_point_name, r.user_id, r.status,"
    " r.start_time, r.end_time, r.source_version, r.lifecycle_stage, r.deleted_time,"
    " replace(replace(r.artifact_uri, r.run_uuid, ''), e.artifact_location, '')"
    " FROM runs r JOIN experiments e USING (experiment_id)",
    "tags": "SELECT {run}, t.key, coalesce((SELECT name FROM runs WHERE run_uuid = t.value), t.value)"
    " FROM tags t JOIN runs r USING (run_uuid) WHERE t.key != 'mlflow.note.content'",
    "params": "SELECT {run}, p.key, p.value FROM params p JOIN runs r USING (run_uuid)",
    "metrics": "SELECT {run}, m.key, m.value, m.timestamp, m.step, m.is_nan"
    " FROM metrics m JOIN runs r USING (run_uuid)",
    "latest_metrics": "SELECT {run}, m.key, m.value, m.timestamp, m.step, m.is_nan"
    " FROM latest_metrics m JOIN runs r USING (run_uuid)",
    "inputs": "SELECT {run}, i.source_type, i.destination_type, i.step, d.name, d.digest,"
    " d.dataset_source_type, d.dataset_source, d.dataset_schema, d.dataset_profile, g.name, g.value"
    " FROM inputs i JOIN runs r ON r.run_uuid = i.destination_id"
    " JOIN datasets d ON d.dataset_uuid = i.source_id JOIN input_tags g USING (input_uuid)",
}  # {run} is the run's name: ids are random


def read_content(uri: str) -> dict[str, list[tuple[Any, ...]]]:
    """All that a store has of its runs, in order."""
    with closing(sqlite3.connect(uri.removeprefix("sqlite:///"))) as opened:
        return {
            table: sorted(opened.execute(query.format(run="r.name")), key=repr)
            for table, query in CONTENT.items()
        }


def tell_in_passes(story: Story, send: Callable[[], object]) -> None:
    """Trials seen once, seen running and then ended, tried again, waiting, long and with odd names."""
    story.complete_trial("image_cnn", 0, value=0.8)
    live = story.start(story.ask("rnn", 0, role="search", **{"learning rate, (log)!": 0.1}))
    story.report(live, 1, 0.3, **{"val/f1 of 'ü'": 0.5, "train/loss": float("nan")})
    waiting = story.ask("rnn", 1)
    broken = story.start(story.ask("rnn", 2))
    story.end(broken, "failed", reason="error: " + "x" * 9_000)
    send()
    story.now += 60
    send()
    story.report(live, 2, 0.5)
    story.start(live)
    story.report(live, 2, 0.7)
    story.report(live, 3, 0.1)
    story.end(live, "pruned", 0.5)
    story.start(broken)
    story.start(waiting)
    send()
    story.end(broken, "complete", 0.9)
    again = story.ask("image_cnn", 0, role="confirm")
    story.end(story.start(again), "complete", 0.9)
    many = story.start(story.ask("rnn", 3))
    for epoch in range(1, 150):
        story.report(many, epoch, epoch / 150)
    story.end(many, "complete", 1.0)
    story.conclude("stopped")
    send()


def sender_without_client(story: Story, uri: str) -> Sender:
    """A sender that may make the experiment and the parent's run by MLflow's client, and no run beside."""
    client = connect(uri)._client
    parent: list[str] = []

    def forbid(method: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if method == "create_run" and not parent:
                made = getattr(client, method)(*args, **kwargs)
                parent.append(made.info.run_id)
                return made
            assert args[0] in parent, f"{method} was asked of the client for a trial"
            return getattr(client, method)(*args, **kwargs)

        return call

    class ParentAlone:
        def __getattr__(self, name: str) -> Any:
            return forbid(name) if name in WRITES else getattr(client, name)

    store: Any = ParentAlone()
    file = Path(uri.removeprefix("sqlite:///"))
    return story.sender(uri, connect=lambda _: TrackingStore(uri, store, file))


def test_embedded_runs_equal_those_of_the_client_row_by_row(store: str, tell: Tell, tmp_path: Path) -> None:
    content = []
    for name in ("client", "embedded"):
        uri = f"sqlite:///{tmp_path}/{name}.db"
        copy_empty_store(store, uri)
        story = Story(tmp_path / name)
        if name == "client":
            plain = TrackingStore(uri, connect(uri)._client)
            sending = story.sender(uri, connect=lambda _, plain=plain: plain)  # type: ignore[misc]
        else:
            sending = sender_without_client(story, uri)
        tell_in_passes(story, sending.send_once)
        content.append(read_content(uri))
    for table, rows in content[0].items():
        assert len(rows) >= 6
        assert content[1][table] == rows, table


def test_embedded_file_with_unknown_tables_is_left_to_the_client(
    store: str, tell: Tell, tmp_path: Path
) -> None:
    uri = f"sqlite:///{tmp_path}/later.db"
    copy_empty_store(store, uri)
    with closing(sqlite3.connect(tmp_path / "later.db")) as opened:
        opened.execute("ALTER TABLE metrics ADD COLUMN unit VARCHAR(8)")
    story = short_story(tell)
    client = FailingClient(connect(uri)._client, lambda count: "")
    story.sender(uri, connect=lambda _: TrackingStore(uri, client, tmp_path / "later.db")).send_once()  # type: ignore[arg-type]
    assert client.created == [story.spec.name, "rnn-0000", "rnn-0001"]
    check_whole(connect(uri)._client, story)


def test_embedded_page_cut_off_before_or_after_its_commit_leaves_no_second_run(
    store: str, mlflow: Any, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = embedded_store.EmbeddedStore.write_runs

    def die_before(*_: Any) -> set[str]:
        raise KeyboardInterrupt

    def die_after(*given: Any) -> set[str]:
        real(*given)
        raise KeyboardInterrupt

    for dying in (die_before, die_after):
        story = short_story(tell)
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(embedded_store.EmbeddedStore, "write_runs", dying)
            story.sender(store).send_once()
        story.sender(store).send_once()
        check_whole(mlflow, story)


def test_locked_embedded_file_is_away_and_gets_everything_later(
    store: str, mlflow: Any, tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_store, "_LOCK_S", 0.05)
    story = short_story(tell)
    sending = story.sender(store)
    sending._open_runs()
    with closing(sqlite3.connect(store.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(TrackingUnavailable, match="locked"):
            sending.send_once()
        other.execute("ROLLBACK")
    sending.send_once()
    with closing(sqlite3.connect(store.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert sending.send_once() == 0, "nothing to send needs no lock"
    check_whole(mlflow, story)


def test_deleted_run_among_embedded_ones_is_not_restored(store: str, mlflow: Any, tell: Tell) -> None:
    story = tell()
    sending = story.sender(store)
    trials = [story.start(story.ask("rnn", number)) for number in range(2)]
    sending.send_once()
    mlflow.delete_run(runs_of(mlflow, story)["rnn-0000"].info.run_id)
    for trial in trials:
        story.report(trial, 1, 0.5)
        story.end(trial, "complete", 0.5)
    sending.send_once()
    runs = runs_of(mlflow, story)
    assert set(runs) == {story.spec.name, "rnn-0001"}
    assert points_of(mlflow, runs["rnn-0001"], "val/accuracy") == [(1, 0.5)]
    assert sending.count_unsent() == 0
