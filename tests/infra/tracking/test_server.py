"""The same over HTTP, by a real `mlflow server`."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.infra.tracking.bundles import a_bundle
from tests.infra.tracking.story import Story
from tests.infra.tracking.test_trouble import check_whole, short_story

START_S = 90.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The URL of a server of this test's own, ended by its process group."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    store = ["--backend-store-uri", f"sqlite:///{tmp_path}/server.db"]
    place = ["--artifacts-destination", str(tmp_path / "kept"), "--host", "127.0.0.1", "--port", str(port)]
    command = [sys.executable, "-m", "mlflow", "server", *store, *place, "--workers", "1"]
    environ = {
        **os.environ,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ENABLE_AI_GATEWAY": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with (tmp_path / "server.log").open("w") as printed:
        process = subprocess.Popen(
            command, env=environ, cwd=tmp_path, stdout=printed, stderr=printed, start_new_session=True
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except (urllib.error.URLError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


@pytest.mark.slow
def test_a_server_gets_runs_points_and_the_model(
    server: str, tell: Callable[..., Story], tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    story = short_story(tell)
    best = story.whole("rnn", 2, value=0.9)
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
