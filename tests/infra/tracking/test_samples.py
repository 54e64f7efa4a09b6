"""What trials show arrives in their runs once, and again only where it has changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.storage.paths import kept_folder, samples_folder
from infra.tracking.client import TrackingStore, TrackingUnavailable, connect
from tests.infra.tracking.conftest import runs_of
from tests.infra.tracking.story import Story

Tell = Callable[..., Story]


def write_shown(story: Story, number: int, **texts: str) -> Path:
    """Texts that a trial's lane left in the storage."""
    folder = story.home.storage / samples_folder(story.spec.label, "search", "image_cnn", number)
    for name, text in texts.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".txt").write_text(text)
    return folder


def artifacts(mlflow: Any, run: Any, path: str = "samples") -> list[str]:
    return [entry.path for entry in mlflow.list_artifacts(run.info.run_id, path)]


class Counting:
    """A connection that counts the uploads, and refuses the first of them where it is told to."""

    def __init__(self, away: int = 0) -> None:
        self.uploads, self.away = 0, away

    def connect(self, uri: str) -> TrackingStore:
        outer, inner = self, connect(uri)

        class Counted(TrackingStore):
            def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
                if method == "log_artifacts":
                    outer.uploads += 1
                    if outer.uploads <= outer.away:
                        raise TrackingUnavailable("not now")
                return inner.call(method, *args, **kwargs)

        return Counted(uri, None)


def test_samples_arrive_when_their_trial_has_ended_and_once(store: str, mlflow: Any, tell: Tell) -> None:
    story, counting = tell(), Counting()
    write_shown(story, 0, confusion="a", grid__0001="b")
    sender = story.sender(store, connect=counting.connect)
    trial = story.start(story.ask("image_cnn", 0))
    sender.send_once()
    assert counting.uploads == 0
    story.end(trial, "complete", 0.5)
    story.complete_trial("image_cnn", 1)
    sender.send_once()
    run = runs_of(mlflow, story)["image_cnn-0000"]
    assert artifacts(mlflow, run) == ["samples/confusion.txt", "samples/grid"]
    assert artifacts(mlflow, run, "samples/grid") == ["samples/grid/0001.txt"]
    story.conclude()
    sender.send_once()
    assert counting.uploads == 1
    assert artifacts(mlflow, runs_of(mlflow, story)["image_cnn-0001"]) == []


def test_files_that_a_trial_keeps_arrive_in_its_run(store: str, mlflow: Any, tell: Tell) -> None:
    story = tell()
    folder = story.home.storage / kept_folder(story.spec.label, "search", "image_cnn", 0) / "model"
    folder.mkdir(parents=True)
    (folder / "weights.bin").write_bytes(b"kept")
    story.complete_trial("image_cnn", 0)
    story.sender(store).send_once()
    run = runs_of(mlflow, story)["image_cnn-0000"]
    assert artifacts(mlflow, run, "kept/model") == ["kept/model/weights.bin"]


def test_samples_that_changed_are_sent_again(store: str, mlflow: Any, tell: Tell, tmp_path: Path) -> None:
    story = tell()
    write_shown(story, 0, it="old")
    story.complete_trial("image_cnn", 0)
    story.sender(store).send_once()
    write_shown(story, 0, it="newer")
    story.conclude()
    story.sender(store).send_once()
    run = runs_of(mlflow, story)["image_cnn-0000"]
    got = mlflow.download_artifacts(run.info.run_id, "samples/it.txt", str(tmp_path))
    assert Path(got).read_text() == "newer"


def test_samples_refused_by_tracking_arrive_later(store: str, mlflow: Any, tell: Tell) -> None:
    story, counting = tell(), Counting(away=1)
    write_shown(story, 0, it="text")
    story.complete_trial("image_cnn", 0)
    sender = story.sender(store, connect=counting.connect)
    with pytest.raises(TrackingUnavailable):
        sender.send_once()
    sender.send_once()
    assert artifacts(mlflow, runs_of(mlflow, story)["image_cnn-0000"]) == ["samples/it.txt"]
