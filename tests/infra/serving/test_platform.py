"""What a platform expects of a server: probes, figures, ids, documents, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import gzip
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from infra.serving.http.access_control import PROBES, AccessControl
from infra.serving.http.access_log import AccessLog
from infra.serving.http.app import ScoringApp
from infra.serving.http.bodies import unpack_gzip
from infra.serving.limits import RequestLimits, ScoringError
from infra.serving.routing import CanaryRule
from tests.infra.serving.scripted_server import Aliases, Server, run

ROOT = Path(__file__).resolve().parents[3]
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
REQUESTS = 10_000


def test_live_and_ready_are_told_apart() -> None:
    async def story() -> None:
        server = Server()
        probes = ("/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready")

        async def statuses() -> list[int]:
            return [(await server.ask(method="GET", path=path)).status for path in probes]

        assert await statuses() == [200, 503, 200, 503]  # nothing is loaded yet
        await server.follower.poll_once()
        assert await statuses() == [200, 200, 200, 200]
        server.scorer.down = True
        await server.readiness.check_replicas(server.scorer, server.batcher, limit_s=0.05)
        assert await statuses() == [200, 503, 200, 503]
        assert "no replica" in (await server.ask(method="GET", path="/health/ready")).json["status"]
        server.scorer.down = False
        await server.readiness.check_replicas(server.scorer, server.batcher, limit_s=0.05)
        assert await statuses() == [200, 200, 200, 200]
        server.readiness.draining = True
        assert await statuses() == [200, 503, 200, 503]
        reply = await server.ask()
        assert (reply.status, reply.headers["connection"]) == (200, "close")

    run(story)


def test_batch_that_was_answered_meanwhile_shows_that_a_replica_computes() -> None:
    async def story() -> None:
        server = Server()
        await server.follower.poll_once()
        server.scorer.down = True
        asked, _ = await asyncio.gather(
            server.ask(), server.readiness.check_replicas(server.scorer, server.batcher, limit_s=0.05)
        )
        assert asked.status == 200
        assert not server.readiness.trouble

    run(story)


def test_replicas_are_asked_on_after_an_error_that_nobody_expected(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        server = Server()
        await server.follower.poll_once()

        async def fail() -> None:
            raise ZeroDivisionError

        with monkeypatch.context() as patched:
            patched.setattr(server.scorer, "count_replicas", fail)
            watching = asyncio.create_task(
                server.readiness.watch_forever(server.scorer, server.batcher, every_s=0.01)
            )
            await asyncio.sleep(0.05)
            assert server.readiness.find_objection(server.follower.standing)
        await asyncio.sleep(0.05)
        assert not server.readiness.find_objection(server.follower.standing)
        assert server.readiness.replicas.running == 1
        watching.cancel()

    run(story)


def test_request_is_counted_by_path_status_and_version() -> None:
    async def story() -> None:
        server = Server(admission=AccessControl(token="0123456789abcdef"), limits=RequestLimits(rows=2))
        await server.follower.poll_once()
        token = {"authorization": "Bearer 0123456789abcdef"}
        await server.ask(headers=token)
        await server.ask()
        await server.ask(headers={"authorization": "Bearer wrong"})
        await server.ask(headers={"host": "evil.example"})
        await server.ask({"instances": [1.0] * 3}, headers=token)
        await server.ask(headers=token | {"content-type": "text/html"})
        await server.ask(path="/nowhere", headers=token)
        await server.ask(method="PUT", path="/version", headers=token)
        metrics = await server.ask(method="GET", path="/metrics", headers=token)
        found = {
            (s.labels["path"], s.labels["status"], s.labels["version"]): s.value
            for family in text_string_to_metric_families(metrics.body.decode())
            for s in family.samples
            if s.name == "velodrome_requests_total"
        }
        assert found == {
            ("/invocations", "200", "m/1"): 1, ("/invocations", "401", "none"): 1,
            ("/invocations", "403", "none"): 2, ("/invocations", "413", "m/1"): 1,
            ("/invocations", "415", "m/1"): 1, ("other", "404", "none"): 1, ("/version", "405", "none"): 1,
        }  # fmt: skip
        seconds = server.service.figures.metric_value(
            "velodrome_request_seconds_count", path="/invocations", status="413", version="m/1"
        )
        assert seconds == 1

    run(story)


def test_metrics_are_openmetrics_for_whoever_asks() -> None:
    async def story() -> None:
        server = Server()
        await server.follower.poll_once()
        for path in ("/invocations", '/no"such\\path', "/no\nsuch"):
            await server.ask(path=path)
        accept = {"accept": "application/openmetrics-text; version=1.0.0"}
        reply = await server.ask(method="GET", path="/metrics", headers=accept)
        assert reply.headers["content-type"].startswith("application/openmetrics-text")
        names = {family.name for family in parse_openmetrics(reply.body.decode())}
        assert {"velodrome_requests", "velodrome_request_seconds", "velodrome_ready"} <= names

    run(story)


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="there is no promtool (apt-get install prometheus)"
)
def test_promtool_has_nothing_to_say_of_the_figures() -> None:
    async def story() -> bytes:
        server = Server(
            canary=CanaryRule(percent=50), aliases=Aliases({"champion": "m/1", "challenger": "m/2"})
        )
        await server.follower.poll_once()
        for body in (None, b"{", {"instances": ["x"]}, None):
            await server.ask(body)
        await server.ask(path='/no"such\\path')
        return (await server.ask(method="GET", path="/metrics")).body

    ended = subprocess.run(["promtool", "check", "metrics"], input=asyncio.run(story()), capture_output=True)
    assert (ended.returncode, ended.stdout + ended.stderr) == (0, b"")


def test_method_that_a_path_has_not_is_405_with_those_it_has() -> None:
    async def story() -> None:
        server = Server()
        reply = await server.ask(method="PUT", path="/health")
        assert (reply.status, reply.headers["allow"]) == (405, "GET, HEAD")
        reply = await server.ask(method="GET", path="/invocations")
        assert (reply.status, reply.headers["allow"]) == (405, "POST")
        assert (await server.ask(method="GET", path="/health/live/")).status == 404

    run(story)


@pytest.mark.parametrize(
    ("request_id", "traceparent", "kept_id", "kept_trace"),
    [
        ("order-77", TRACE, True, True),
        ("", "", False, False),
        ("two words", "00-" + "0" * 32 + "-00f067aa0ba902b7-01", False, False),
        ("x" * 129, "ff" + TRACE[2:], False, False),
    ],
)
def test_request_id_and_trace_go_out_as_they_came_in_where_they_are_well_formed(
    request_id: str, traceparent: str, kept_id: bool, kept_trace: bool
) -> None:
    async def story() -> None:
        server = Server()
        await server.follower.poll_once()
        for path, method in (("/invocations", "POST"), ("/nowhere", "GET")):
            given = {"x-request-id": request_id, "traceparent": traceparent}
            reply = await server.ask(method=method, path=path, headers=given)
            version, trace, span, flags = reply.headers["traceparent"].split("-")
            assert (reply.headers["x-request-id"] == request_id) is kept_id
            assert (trace == TRACE[3:35]) is kept_trace
            assert (version, len(trace), len(span)) == ("00", 32, 16)
            assert span != TRACE[36:52]
            assert flags == ("01" if kept_trace else "00")

    run(story)


def test_access_log_has_a_line_of_json_a_request(tmp_path: Path) -> None:
    async def story() -> None:
        server = Server(admission=AccessControl(token="0123456789abcdef"))
        log = AccessLog(str(tmp_path / "access.log"))
        app = ScoringApp(server.service, AccessControl(token="0123456789abcdef"), "m", access_log=log)
        server.app = app
        await server.follower.poll_once()
        headers = {"authorization": "Bearer 0123456789abcdef", "x-request-id": "a", "traceparent": TRACE}
        await server.ask({"instances": [1.0, 2.0]}, headers=headers)
        await server.ask({"instances": ["a secret"]}, headers=headers)
        await server.ask(b"x\na secret\n", headers={**headers, "content-type": "text/csv"})
        await server.ask(b"a secret\n1\n", headers={**headers, "content-type": "text/csv"})
        (tmp_path / "access.log").rename(tmp_path / "rotated.log")
        await server.ask(path="/nowhere\nx")
        log.close()

    run(story)
    first, *wrong = (json.loads(line) for line in (tmp_path / "rotated.log").read_text().splitlines())
    assert [(line["status"], "secret" in json.dumps(line)) for line in wrong] == [(400, False)] * 3
    assert wrong[0]["error"] == "column 'x', row 0: a number is wanted"
    (second,) = (json.loads(line) for line in (tmp_path / "access.log").read_text().splitlines())
    assert first["seconds"] > 0
    assert (first["status"], first["rows"], first["version"], first["request_id"]) == (200, 2, "m/1", "a")
    assert first["trace_id"] == TRACE[3:35]
    assert (second["status"], second["path"]) == (401, "/nowhere\nx")
    assert "Bearer TOKEN" in second["error"]
    assert "0123456789abcdef" not in (tmp_path / "rotated.log").read_text()


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (gzip.compress(b'{"instances": [3.0]}'), 200, "predictions"),
        (gzip.compress(b'{"instances"') + gzip.compress(b": [3.0]}"), 200, "predictions"),
        (gzip.compress(b'{"instances": [3.0]}')[:-9], 400, "end is missing"),
        (b'{"instances": [3.0]}', 400, "must be gzip"),
        (gzip.compress(b" " * 50_000_000), 413, "unpacked"),
        (gzip.compress(b"") * 4_000, 400, "200 at most"),
        (b"", 400, "JSON"),
    ],
    ids=["whole", "two members", "cut", "plain", "bomb", "many", "empty"],
)
def test_gzip_body_is_read_within_the_limit_of_what_it_unpacks_to(
    body: bytes, status: int, says: str
) -> None:
    async def story() -> None:
        server = Server(limits=RequestLimits(body_bytes=100_000))
        await server.follower.poll_once()
        reply = await server.ask(body, headers={"content-encoding": "gzip"})
        assert reply.status == status
        assert says in reply.body.decode()

    run(story)


def test_overloaded_connection_is_refused_all_but_probes() -> None:
    async def story() -> None:
        server = Server()
        await server.follower.poll_once()
        state = {"velodrome.overloaded": True}
        assert (await server.ask(state=state)).status == 503
        for path in PROBES:
            assert (await server.ask(method="GET", path=path, state=state)).status == 200

    run(story)


@contextmanager
def local_server(port: int, drain_s: float, bundle: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """A server of its own process, once it listens; of a bundle's model, or of a scripted one."""
    command = [sys.executable, "-m", "tests.infra.serving.local_server", str(port), str(drain_s)]
    command += [] if bundle is None else [str(bundle)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "up\n"
            yield server
        finally:
            server.kill()


def free_ports(count: int) -> list[int]:
    """Ports that nobody has."""
    with socket.socket() as one, socket.socket() as two:
        probes = [one, two][:count]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


async def ask_port(port: int, path: str, body: bytes | None = None) -> int:
    """The status of one request on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        method = b"GET" if body is None else b"POST"
        head = b"%b %b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        writer.write(head % (method, path.encode(), len(body or b"")) + (body or b""))
        answer = await reader.read()
        return int(answer[9:12])
    finally:
        writer.close()


class ReadyProxy:
    """Sends requests to whichever server was ready when it last looked, as a platform's balancer does."""

    def __init__(self, ports: list[int]) -> None:
        self.ports, self.ready, self.turn = ports, set(ports), 0

    async def watch(self) -> None:
        """Looks five times a second."""
        while True:
            for port in self.ports:
                try:
                    up = await ask_port(port, "/health/ready") == 200
                except OSError:
                    up = False
                (self.ready.add if up else self.ready.discard)(port)
            await asyncio.sleep(0.2)

    async def ask(self) -> int:
        """The status of one request."""
        while not self.ready:
            await asyncio.sleep(0.01)
        self.turn += 1
        port = sorted(self.ready)[self.turn % len(self.ready)]
        return await ask_port(port, "/invocations", b'{"instances": [1.0]}')


@pytest.mark.long
def test_rolling_restart_behind_a_proxy_that_honours_readiness_loses_no_request() -> None:
    ports = free_ports(2)
    found: Counter[str] = Counter()

    async def story() -> None:
        proxy = ReadyProxy(ports)
        watching = asyncio.create_task(proxy.watch())

        async def client() -> None:
            while sum(found.values()) < REQUESTS:
                try:
                    found[str(await proxy.ask())] += 1
                except (OSError, ValueError) as error:
                    found[type(error).__name__] += 1

        async def restart() -> None:
            for at, port in enumerate(ports):
                servers[at].send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(servers[at].wait, 20) == -signal.SIGTERM
                servers[at] = await asyncio.to_thread(stack.enter_context, local_server(port, 1.0))
                async with asyncio.timeout(20):
                    while port not in proxy.ready:
                        await asyncio.sleep(0.05)

        async with asyncio.timeout(200):
            await asyncio.gather(restart(), *(client() for _ in range(16)))
        watching.cancel()

    from contextlib import ExitStack

    with ExitStack() as stack:
        servers = [stack.enter_context(local_server(port, 1.0)) for port in ports]
        asyncio.run(story())
    assert found == {"200": sum(found.values())}
    assert sum(found.values()) >= REQUESTS


def test_second_sigterm_ends_the_draining_at_once() -> None:
    (port,) = free_ports(1)
    with local_server(port, 60.0) as server:
        server.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 10
        while asyncio.run(ask_port(port, "/health/ready")) != 503:
            assert time.monotonic() < deadline
        assert asyncio.run(ask_port(port, "/invocations", b'{"instances": [1.0]}')) == 200
        server.send_signal(signal.SIGTERM)
        assert server.wait(15) == -signal.SIGTERM


def test_gzip_that_unpacks_to_more_is_never_unpacked_whole() -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(ScoringError, match="unpacked"):
            unpack_gzip(bomb, 100_000)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
