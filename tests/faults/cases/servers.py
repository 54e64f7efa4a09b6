"""Servers and those who ask them: MLflow behind a proxy that answers nonsense, and what strangers get from
all that listens while a sweep runs."""

from __future__ import annotations

import contextlib
import http.client
import random
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.addresses import is_loopback
from tests.faults.cases.tracking import shorten_rests, story_in
from tests.faults.harness import Stage, stretch_limit, until
from tests.faults.outcome import Outcome, Pace, case
from tests.infra.tracking.failing import check_whole, short_story
from tests.infra.tracking.servers import Server

NONSENSE = 0.3
KINDS = ("500", "503", "429", "garbage", "loop", "lost")  # lost: it is done, and its answer is not


class Proxy(BaseHTTPRequestHandler):
    """Passes most requests on, and answers the others itself."""

    def do_GET(self) -> None:
        server: Any = self.server
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with server.lock:
            kind = server.chance.choice(KINDS) if server.chance.random() < NONSENSE else ""
            server.given[kind] += 1
        if kind in ("", "lost"):
            status, answer, kept = self._ask(body)
            if not kind:
                self._answer(status, answer, kept)
                return
        if kind == "loop":
            self._answer(302, b"", {"Location": self.path})
        else:
            status = {"garbage": 200, "lost": 500}.get(kind) or int(kind)
            self._answer(status, b"<html>{", {"Retry-After": "1"} if status in (429, 503) else {})

    do_POST = do_PATCH = do_DELETE = do_PUT = do_GET

    def _ask(self, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        address: str = self.server.behind  # type: ignore[attr-defined]
        asked = http.client.HTTPConnection(address, timeout=30)
        passed = {key: value for key, value in self.headers.items() if key.lower() != "host"}
        asked.request(self.command, self.path, body, passed)
        got = asked.getresponse()
        answer = got.read()
        asked.close()
        return got.status, answer, {"Content-Type": got.getheader("Content-Type", "")}

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Quiet."""


@contextmanager
def bad_proxy(behind: str, seed: int) -> Iterator[tuple[str, Counter[str]]]:
    """Its address, and how often it did what; '' is a request that was passed on."""
    serving: Any = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    serving.behind, serving.chance, serving.lock = behind, random.Random(seed), threading.Lock()
    serving.given = Counter()
    thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{serving.server_port}", serving.given
    finally:
        serving.shutdown()
        thread.join()
        serving.server_close()


@case("F30", "MLflow behind a proxy that answers three requests in ten by an error or nonsense")
def nonsense(folder: Path, pace: Pace) -> Outcome:
    """All of it is sent again; every run and every point is there once."""
    from mlflow import MlflowClient

    server, given = Server(folder / "server"), Counter[str]()
    try:
        with pytest.MonkeyPatch.context() as patch, shorten_rests():
            patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
            for seed in range(1 if pace.fast else 5):
                story = short_story(lambda seed=seed: story_in(folder / f"home{seed}"))  # type: ignore[misc]
                with bad_proxy(server.url.removeprefix("http://"), seed) as (url, counted):
                    sending = story.sender(url)
                    until(lambda sending=sending: sending.drain(10.0) == 0, stretch_limit(120.0))  # type: ignore[misc]
                    sending.stop()
                    given += counted
                check_whole(MlflowClient(server.url), story)
                story.ledger.close()
    finally:
        server.end()
    assert all(given[kind] for kind in KINDS) or pace.fast, given
    return Outcome(note=f"{given.total() - given['']} of {given.total()} requests")


# -- what listens ------------------------------------------------------------------------------------------

SWEEP = """\
name: open
data: {source: none}
objective: {metric: accuracy, direction: maximize}
budget: {trials: 1, epochs: 200}
search: {sampler: random, pruner: none}
resources: {lanes: 1}
families:
  tests.faults.scripted:train:
    space: {learning_rate: {type: float, low: 1e-4, high: 1e-1, log: true}}
"""
# A question of each of Ray's services that tells something, and one that any gRPC server may be asked.
QUESTIONS = (
    "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "/ray.rpc.InternalKVGcsService/InternalKVKeys",
    "/ray.rpc.NodeManagerService/GetNodeStats",
    "/ray.rpc.CoreWorkerService/GetCoreWorkerStats",
    "/ray.rpc.ObjectManagerService/Pull",
)
TOLD_NOTHING = {"UNAUTHENTICATED", "UNIMPLEMENTED", "UNAVAILABLE"}  # refused, not that service, not gRPC


@case("F49", "a stranger asks all that listens while a sweep runs, without and with a wrong token", ray=True)
def strangers(folder: Path, pace: Pace) -> Outcome:
    """Nothing of it tells anything; with the right token it does, so that the questions are real ones."""
    stage = Stage(folder, environment={"SCRIPTED_SLEEP": "0.5"})
    stage.write("s.yaml", SWEEP)
    command = stage.start("sweep", "s.yaml")
    try:
        stage.wait_for("open", lambda trials: any(trial.epochs for trial in trials))
        path = stage.home.path / "ray_token"
        assert path.stat().st_mode & 0o777 == 0o600
        ports, answered = _open_ports(command.pid), Counter[str]()
        for port, address in sorted(ports.items()):
            for question in QUESTIONS:
                for token in (None, "wrong"):
                    assert _ask(port, question, token) in TOLD_NOTHING, (ports[port], port, question)
                answered[_ask(port, question, path.read_text().strip())] += 1
            status = _get(port, address)
            assert status not in range(200, 400), (ports[port], port, status)
        assert answered["OK"] >= len(QUESTIONS)
    finally:
        stage.run("stop", "open")
        command.communicate(timeout=stretch_limit(120.0))
    return Outcome(note=f"{len(ports)} ports that others reach, {answered['OK']} questions with the token")


def _open_ports(pid: int) -> dict[int, str]:
    """Ports of the command and all below it that others than this machine reach, with the address of each."""
    found = {}
    first = psutil.Process(pid)
    for process in (first, *first.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):  # ended since it was listed
            for connection in process.net_connections("inet"):
                if connection.status == psutil.CONN_LISTEN and not is_loopback(connection.laddr.ip):
                    found[connection.laddr.port] = connection.laddr.ip
    return found


def _ask(port: int, question: str, token: str | None) -> str:
    import grpc

    channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)])
    call = channel.unary_unary(question, request_serializer=bytes, response_deserializer=bytes)
    try:
        call(b"", timeout=5, metadata=() if token is None else (("authorization", f"Bearer {token}"),))
    except grpc.RpcError as error:
        return str(error.code().name)
    finally:
        channel.close()
    return "OK"


def _get(port: int, address: str) -> int | None:
    """The status of a page's request; None of what speaks no HTTP."""
    host = "127.0.0.1" if address in ("::", "0.0.0.0") else address
    began = time.monotonic()
    try:
        with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, http.client.HTTPException):
        assert time.monotonic() - began < 60
        return None
