"""The same over HTTP, by a real `mlflow server`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.infra.tracking.bundles import a_bundle
from tests.infra.tracking.failing import check_whole, short_story
from tests.infra.tracking.servers import Server
from tests.infra.tracking.story import Story


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The URL of a server of this test's own."""
    serving = Server(tmp_path)
    try:
        yield serving.url
    finally:
        serving.end()


@pytest.mark.slow
def test_tracking_server_gets_runs_points_and_model(
    server: str, tell: Callable[..., Story], tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    story = short_story(tell)
    best = story.complete_trial("rnn", 2, value=0.9)
    best.model = "models/2"
    a_bundle("text_cnn", story.home.storage / "models" / "2", tmp_path / "cache")
    story.tell("model", {"path": best.model}, best)
    sending = story.sender(server)
    sending.start()
    assert sending.drain(120.0) == 0
    sending.stop()
    client = MlflowClient(server)
    experiment = client.get_experiment_by_name(story.spec.name)
    (model,) = client.search_logged_models([experiment.experiment_id])
    assert (model.name, str(model.status)) == ("rnn-0002", "READY")
    assert (tmp_path / "kept").is_dir()  # artifacts go through the server
    run = client.search_runs([experiment.experiment_id], "run_name = 'rnn-0002'")[0]
    client.delete_run(run.info.run_id)
    check_whole(client, story)
