"""`velodrome serve` as a person starts it: real Ray, real registry, real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.inference.serve import TOKEN, prepare_server, serve
from flows.inference.serve_options import ServeOptions
from flows.inference.server_limits import read_limits
from infra.errors import WrongInput
from infra.home import Home
from tests.faults.harness import children, stretch_limit
from tests.infra.serving.registry_with_models import RegistryFixture, a_bundle, answers, shift_bias
from trainers.bundle.bundle import read_description

UP_LIMIT_S = 600.0
SWAP_LIMIT_S = 3.0
CLIENTS = 16


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> RegistryFixture:
    """As `three_versions`."""
    return three_versions(tmp_path_factory.mktemp("registered"))


def three_versions(folder: Path) -> RegistryFixture:
    """A linear model `m`: version 1 answers, so does 2, and 3 is damaged."""
    made = RegistryFixture(folder)
    bundle = a_bundle("linear_regression", made.folder / "one", made.folder / "cache")
    made.add("m", bundle, alias="champion")
    made.add("m", shift_bias(bundle, made.folder / "two", 5.0))
    number = made.add("m", bundle)
    source = Path(made.location("m", number).removeprefix("file://"))
    weights = next(source.rglob("weights.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    return made


def body_of(bundle: Path) -> bytes:
    """The model's own example as a request."""
    return json.dumps({"dataframe_records": read_description(bundle).example.to_dict("records")}).encode()


def predictions(bundle: Path) -> list[float]:
    """What the model itself says to its example."""
    return [record["prediction"] for record in answers(bundle)]


def free_port() -> int:
    """A port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(port: int, body: bytes | None = None, path: str = "/invocations") -> tuple[int, str, Any]:
    """Status, version and document of one request; a GET without a body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=40)
    with contextlib.closing(connection):
        method = "GET" if body is None else "POST"
        connection.request(method, path, body, {"Content-Type": "application/json"})
        reply = connection.getresponse()
        return reply.status, reply.headers.get("x-velodrome-version", ""), json.loads(reply.read())


@contextlib.contextmanager
def run_server(
    command: list[str], port: int, environ: dict[str, str], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A server, once it answers; ended with all its processes."""
    with log.open("wb") as out:
        server = subprocess.Popen(
            command, env={**os.environ, **environ}, stdout=out, stderr=out, start_new_session=True
        )
    try:
        deadline = time.monotonic() + UP_LIMIT_S
        while True:
            with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=40)
                with contextlib.closing(connection):
                    connection.request("GET", "/health")
                    if connection.getresponse().status == 200:
                        break
            assert server.poll() is None, log.read_text()[-3000:]
            assert time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.1)
        yield server
    finally:
        server.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(300)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait(100)


class Clients:
    """So many who ask all the time, and what they were told."""

    def __init__(self, port: int, body: bytes, *, count: int = CLIENTS, pause_s: float = 0.0) -> None:
        self._pause_s = pause_s
        self.seen: Counter[tuple[int, str, str]] = Counter()
        self.failures: list[str] = []
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(port, body)) for _ in range(count)]

    def _ask(self, port: int, body: bytes) -> None:
        while not self._end.is_set():
            try:
                status, version, document = ask(port, body)
            except (OSError, ValueError, http.client.HTTPException) as error:
                self.failures.append(f"{type(error).__name__}: {error}")
                return
            self.seen[status, version, json.dumps(document)] += 1
            time.sleep(self._pause_s)

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join(60)


def seconds_until(condition: Callable[[], bool], limit_s: float) -> float:
    """How long until something is so; fails after the limit, which a busy machine stretches."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < stretch_limit(limit_s)
        time.sleep(0.02)
    return time.monotonic() - began


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.long
def test_serve_follows_champion_under_load_without_lost_requests(
    registered: RegistryFixture, tmp_path: Path
) -> None:
    port = free_port()
    one, two = registered.folder / "one", registered.folder / "two"
    body = body_of(one)
    command = [sys.executable, "-m", "flows.cli", "serve", "m", "--port", str(port)]
    environ = {"VELODROME_HOME": str(registered.home.path), "OMP_NUM_THREADS": "1"}
    log = tmp_path / "serve.log"
    with run_server(command, port, environ, log) as server:
        processes = psutil.Process(server.pid).children(recursive=True)
        (replica,) = children(server, "ServeReplica")
        with Clients(port, body) as clients:
            registered.move("m", "champion", 2)
            seconds_until(lambda: ask(port, body)[1] == "m/2", SWAP_LIMIT_S)
            registered.move("m", "champion", 3)  # damaged
            seconds_until(lambda: "m/3" in ask(port, path="/version")[2]["refused"], 10)
            assert ask(port, body)[:2] == (200, "m/2")
            assert ask(port, path="/health/ready")[0] == 200
            replica.suspend()
            seconds_until(lambda: ask(port, path="/health/ready")[0] == 503, 10)
            assert ask(port, path="/health/live")[0] == 200
            replica.resume()
            seconds_until(lambda: ask(port, path="/health/ready")[0] == 200, 10)
            replica.kill()
            time.sleep(1.0)
            seconds_until(lambda: ask(port, body)[0] == 200, 60)
            registered.move("m", "champion", 1)
            seconds_until(lambda: ask(port, body)[1] == "m/1", SWAP_LIMIT_S)
        assert not clients.failures
        assert {(status, version) for status, version, _ in clients.seen} == {(200, "m/1"), (200, "m/2")}
        right = {"m/1": predictions(one), "m/2": predictions(two)}
        for _, version, document in clients.seen:  # the last digits depend on the size of the batch
            found = [record["prediction"] for record in json.loads(document)["predictions"]]
            assert found == pytest.approx(right[version], rel=1e-6)
        listening = [
            c.laddr for c in psutil.Process(server.pid).net_connections("tcp") if c.status == "LISTEN"
        ]
        assert ("127.0.0.1", port) in {(address.ip, address.port) for address in listening}
        assert not [address for address in listening if address.port == port and address.ip != "127.0.0.1"]
        server.send_signal(signal.SIGINT)
        assert server.wait(300) == 0
    assert "m/3 is refused, and what answered goes on" in log.read_text()
    assert "Traceback" not in log.read_text()
    _, alive = psutil.wait_procs(processes, timeout=200)
    assert not alive


@pytest.mark.slow
def test_serve_answers_as_mlflows_own_server_does(registered: RegistryFixture, tmp_path: Path) -> None:
    port = free_port()
    binaries = str(Path(sys.executable).parent)
    environ = {
        "MLFLOW_TRACKING_URI": registered.home.mlflow_uri,
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [
        sys.executable, "-m", "mlflow", "models", "serve", "-m", "models:/m/2", "--env-manager", "local",
        "--port", str(port), "--workers", "1",
    ]  # fmt: skip
    with run_server(command, port, environ, tmp_path / "mlflow.log"):
        status, _, document = ask(port, body_of(registered.folder / "one"))
    assert (status, document) == (200, {"predictions": answers(registered.folder / "two")})


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (ServeOptions(canary=101), "between 0 and 100"),
        (ServeOptions(canary=5, shadow="challenger"), "heard or not"),
        (ServeOptions(canary=5, only_promoted=True), "must not answer"),
        (ServeOptions(only_promoted=True), "must have been promoted"),
        (ServeOptions(drain_s=-1), "--drain must be"),
        (ServeOptions(shadow="Not An Alias"), "name of a alias"),
        (ServeOptions(host="203.0.113.7", port=0), "address must be this machine's"),
    ],
)
def test_serve_impossible_options_are_refused_before_ray(
    registered: RegistryFixture, options: ServeOptions, says: str
) -> None:
    with pytest.raises(WrongInput, match=says), prepare_server("m", options, registered.home):
        pass


@pytest.mark.parametrize(
    "model", ["m/9", "m@challenger", "nothing-here", "file:///etc", f"models:/m-{'0' * 32}"]
)
def test_serve_unknown_model_is_refused_before_ray(registered: RegistryFixture, model: str) -> None:
    with pytest.raises(WrongInput), prepare_server(model, ServeOptions(port=0), registered.home):
        pass


def test_loop_of_a_server_is_open_until_ray_has_ended(
    registered: RegistryFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads of Ray's tell it of answers that nobody waits for: of a closed one they print an error."""
    loops: list[asyncio.AbstractEventLoop] = []

    @contextlib.contextmanager
    def connect_nothing(*_: object) -> Iterator[None]:
        yield
        loops[0].call_soon_threadsafe(print)

    async def answer_nothing(*_: object) -> None:
        loops.append(asyncio.get_running_loop())

    monkeypatch.setattr("infra.driver.cluster.connect_ray", connect_nothing)
    monkeypatch.setattr("flows.inference.serve.deploy_replicas", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr("flows.inference.serve._answer_requests", answer_nothing)
    serve("m", port=free_port(), home=registered.home)
    assert loops[0].is_closed()


def test_serve_challenger_without_followed_model_is_refused(registered: RegistryFixture) -> None:
    options = ServeOptions(port=0, canary=5)
    with pytest.raises(WrongInput, match="is followed"), prepare_server("m/1", options, registered.home):
        pass


def test_serve_beyond_loopback_demands_a_token(
    registered: RegistryFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(TOKEN, raising=False)
    with prepare_server("m", ServeOptions(port=0), registered.home) as ready:
        assert ready.admission.token is None
        assert ready.listening.getsockname()[0] == "127.0.0.1"
    with prepare_server("m", ServeOptions(host="0.0.0.0", port=0), registered.home) as ready:
        kept = registered.home.path / "serve_token"
        assert ready.admission.token == kept.read_text().strip()
        assert kept.stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv(TOKEN, "a token of one's own".replace(" ", "-"))
    with prepare_server("m", ServeOptions(port=0), registered.home) as ready:
        assert ready.admission.token == "a-token-of-one's-own"
    monkeypatch.setenv(TOKEN, "short")
    with pytest.raises(WrongInput, match="16"), prepare_server("m", ServeOptions(port=0), Home(tmp_path)):
        pass


def test_limits_come_from_a_file_and_single_ones_win(tmp_path: Path) -> None:
    file = tmp_path / "limits.yaml"
    file.write_text("rows: 50\nreceive_s: 2\n")
    limits = read_limits(file, ["rows=7", "answer_s=1.5"])
    assert (limits.rows, limits.receive_s, limits.answer_s) == (7, 2.0, 1.5)
    assert limits.body_bytes == read_limits().body_bytes


@pytest.mark.parametrize(
    ("text", "given", "says"),
    [
        ("rows: 0", [], "line 1: rows must be a whole number above 0"),
        ("rows: 1.5", [], "whole number"),
        ("a: 1\nrow: 1", [], "line 1"),
        ("row: 1", [], "did you mean 'rows'"),
        ("[1]", [], "must be a mapping"),
        ("rows: [", [], "limits.yaml"),
        ("rows: 1", ["rows"], "NAME=VALUE"),
        ("rows: 1", ["answer_s=true"], "answer_s must be a number"),
    ],
)
def test_limit_that_cannot_be_is_refused_with_its_place(
    tmp_path: Path, text: str, given: list[str], says: str
) -> None:
    file = tmp_path / "limits.yaml"
    file.write_text(text)
    with pytest.raises(WrongInput) as refused:
        read_limits(file, given)
    assert says in str(refused.value)
