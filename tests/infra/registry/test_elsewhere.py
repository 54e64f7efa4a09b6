"""A tracking server that sends whoever fetches a model on to somebody else: nobody else is ever asked."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from infra.errors import Unavailable, WrongInput
from infra.registry.artifacts import fetch_files
from infra.registry.store import Registry
from infra.tracking.client import connect

ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
CONTENT = b"flavors: {}\n"
MODEL = "mlflow-artifacts:/1/models/m-1/artifacts"

Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def run_http_server(
    answer: Callable[[str], Answer], host: str = "127.0.0.1"
) -> Iterator[tuple[str, list[str]]]:
    """An HTTP server that answers as told; its address, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            asked.append(self.path)
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, body = answer(self.path)
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _answer

        def log_message(self, *_: Any) -> None:
            return None

    server = ThreadingHTTPServer((host, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://{host}:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def as_json(document: Any) -> Answer:
    """An answer with a document."""
    return 200, {"Content-Type": "application/json"}, json.dumps(document).encode()


def tracking_server(moved: str, elsewhere: str) -> Callable[[str], Answer]:
    """A tracking server with one model of one file, that sends on to `elsewhere` those who ask for `moved`:
    `experiments`, `listing`, `file`, or `signed`, an address to download the file from."""
    away: Answer = (307, {"Location": f"{elsewhere}/taken"}, b"")

    def answer(path: str) -> Answer:
        if path.endswith("/server-info") or "/server-info?" in path:
            return as_json({"multipart_uploads_enabled": True, "multipart_downloads_enabled": True})
        if "presigned" in path:
            return as_json({"url": f"{elsewhere}/taken", "headers": {}, "file_size": len(CONTENT)})
        if "/experiments/search" in path:
            known = {"experiment_id": "1", "name": "e", "artifact_location": "mlflow-artifacts:/1"}
            return away if moved == "experiments" else as_json({"experiments": [known]})
        if path.startswith(f"{ARTIFACTS}?"):
            listed = {"path": "MLmodel", "is_dir": False, "file_size": len(CONTENT)}
            return away if moved == "listing" else as_json({"files": [listed]})
        return away if moved == "file" else (200, {}, CONTENT)

    return answer


@pytest.mark.parametrize("moved", ["nothing", "experiments", "listing", "file", "signed"])
def test_fetch_follows_no_redirect_and_no_signed_address(moved: str, tmp_path: Path) -> None:
    with (
        run_http_server(lambda path: (200, {}, CONTENT)) as (elsewhere, taken),
        run_http_server(tracking_server(moved, elsewhere)) as (uri, asked),
    ):
        registry = Registry(connect(uri), tmp_path / "artifacts")
        if moved in ("nothing", "signed"):
            folder = fetch_files(registry, MODEL, tmp_path / "model").folder
            assert (folder / "MLmodel").read_bytes() == CONTENT
        else:
            with pytest.raises(Unavailable, match=r"30[0-9]|bytes|JSON"):
                fetch_files(registry, MODEL, tmp_path / "model")
        assert asked
        assert not taken


@pytest.mark.parametrize(
    "source",
    [
        "mlflow-artifacts://flips.example/1/models/m-1/artifacts", "http://flips.example/m", "s3://flips.example/m",
        "mlflow-artifacts://flips.example:80/1/m", "https://flips.example/m", "gs://flips.example/1/models",
        "abfss://store@flips.example/m", "wasbs://flips.example/1/models/m-1/artifacts",
        "mlflow-artifacts:/2/models/m-1/artifacts", "mlflow-artifacts:/10/m", "mlflow-artifacts:/",
    ],
)  # fmt: skip
def test_fetch_never_resolves_a_foreign_host_name(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names are compared as they are written: what they resolve to decides nothing."""
    looked_up: list[str] = []
    real = socket.getaddrinfo

    def flipping(host: str, *args: Any, **options: Any) -> Any:
        if "flips.example" not in host:
            return real(host, *args, **options)
        looked_up.append(host)
        return real(f"127.0.0.{len(looked_up)}", *args, **options)

    with run_http_server(tracking_server("nothing", "http://flips.example")) as (uri, _):
        registry = Registry(connect(uri), tmp_path / "artifacts")
        monkeypatch.setattr(socket, "getaddrinfo", flipping)
        with pytest.raises(WrongInput, match="experiments keep theirs"):
            fetch_files(registry, source, tmp_path / "model")
    assert not looked_up
