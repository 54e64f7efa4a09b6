"""MLflow's own server as `velodrome ui` starts it: its pages open on training, and on a sweep's view."""

from __future__ import annotations

import asyncio
import gc
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from flows.installation.mlflow_app import SCRIPT, OpensOnTraining, create_app

PAGE = b"<!doctype html><html><head><title>MLflow</title></head><body></body></html>"
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
EXPERIMENTS = {
    "5": "**0.83** by [one](#/experiments/5/runs/1?workflowType=machine_learning) · "
    "[curves](#/experiments/5/runs?compareRunsMode=CHART&viewStateShareKey=velodrome-v1-l3)",
    "6": "somebody else's",
}


async def inner(scope: Any, receive: Any, send: Any) -> None:
    """Answers as MLflow does: a page, files beside it, experiments by number."""
    kind, status, body = b"text/html", 200, PAGE
    if scope["path"].endswith("/experiments/get"):
        number = scope["query_string"].decode().partition("=")[2]
        tags = f'[{{"key": "mlflow.note.content", "value": "{EXPERIMENTS.get(number, "")}"}}]'
        kind, body = b"application/json", f'{{"experiment": {{"tags": {tags}}}}}'.encode()
    if any(name == b"if-none-match" for name, _ in scope["headers"]):
        status, body = 304, b""
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), (b"etag", b'"one"')]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body[:9], "more_body": True})
    await send({"type": "http.response.body", "body": body[9:]})


def ask(app: Any, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    """One request of an app."""

    async def answer() -> httpx.Response:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(answer())


def test_first_page_has_the_script_before_all_others() -> None:
    answer = ask(OpensOnTraining(inner, "open()"), "/")
    assert answer.content == PAGE.replace(b"<head>", b"<head><script>open()</script>")
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert "etag" not in answer.headers


def test_page_kept_by_a_browser_from_another_server_is_sent_again() -> None:
    answer = ask(OpensOnTraining(inner, "open()"), "/", **{"if-none-match": '"one"'})
    assert answer.status_code == 200
    assert b"open()" in answer.content


@pytest.mark.parametrize(
    ("path", "prefix", "has_script"),
    [
        ("/lab/", "/lab", True),
        ("/lab", "/lab", True),
        ("/", "/lab", False),
        ("/static-files/main.js", "", False),
    ],
)
def test_other_paths_are_passed_on(path: str, prefix: str, has_script: bool) -> None:
    answer = ask(OpensOnTraining(inner, "open()", prefix=prefix), path)
    assert (b"open()" in answer.content) is has_script
    assert ("etag" in answer.headers) is not has_script


@pytest.mark.filterwarnings("ignore:starlette.middleware.wsgi is deprecated")  # MLflow's import
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its files are not closed
def test_app_is_found_by_mlflow_and_its_page_has_the_script() -> None:
    (found,) = entry_points(group="mlflow.app", name="velodrome")
    assert found.load() is create_app
    answer = ask(create_app(), "/")
    gc.collect()
    assert answer.status_code == 200
    assert SCRIPT.read_text() in answer.text
    assert 'id="root"' in answer.text


@contextmanager
def listening(app: Any) -> Iterator[int]:
    """The port of a server of an app in a thread."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs chromium")
@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("#/experiments/5", "#/experiments/5/runs?workflowType=machine_learning&compareRunsMode=CHART"
         "&viewStateShareKey=velodrome-v1-l3"),
        ("#/experiments/6", "#/experiments/6"),
        ("#/experiments/5/runs?viewStateShareKey=mine", "#/experiments/5/runs?viewStateShareKey=mine"),
        ("#/experiments/5/runs/1", "#/experiments/5/runs/1"),
        ("#/models/credit", "#/models/credit"),
    ],
)  # fmt: skip
def test_browser_opens_an_experiment_on_its_sweeps_view(start: str, end: str, tmp_path: Path) -> None:
    tell = "document.title = location.hash + ' ' + localStorage['mlflow.workflowType_v1']"
    app = OpensOnTraining(inner, f"{SCRIPT.read_text()}setInterval(() => {{ {tell} }}, 20);")
    with listening(app) as port:
        words = [
            str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}",
            "--virtual-time-budget=3000", "--dump-dom", f"http://127.0.0.1:{port}/{start}",
        ]  # fmt: skip
        shown = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True).stdout
    expected = f'{end} "machine_learning"'.replace("&", "&amp;")
    assert f"<title>{expected}</title>" in shown, shown[-500:]
