"""The real HTTP server on a socket: slow, endless and broken requests, and a clean end."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

import psutil
import pytest

from infra.errors import WrongInput
from infra.serving.http.http_server import bind_socket, run_server
from infra.serving.limits import RequestLimits
from tests.infra.serving.scripted_server import ScriptedScorer, Server, run

READY = b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\n\r\n"
GOOD = b'{"instances": [1.0]}'
HEAD = b"POST /invocations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


async def exchange(port: int, *pieces: bytes, pause_s: float = 0.0) -> bytes:
    """All that the server answers to some bytes before it closes, or stops for a while."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(pause_s)
        async with asyncio.timeout(5):
            return await reader.read(4096)
    finally:
        writer.close()


def serve_story(server: Server, limits: RequestLimits, story: Callable[[int], Awaitable[None]]) -> None:
    """Runs a story on a server that listens."""

    async def whole() -> None:
        await server.follower.poll_once()
        listening = bind_socket("127.0.0.1", 0)
        port = listening.getsockname()[1]
        started = asyncio.Event()

        async def up() -> None:
            started.set()

        task = asyncio.create_task(run_server(server.app, listening, limits, started=up))
        await started.wait()
        try:
            await story(port)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert server.batcher.waiting_rows == 0

    run(whole)


def test_hostile_clients_get_a_4xx_and_good_ones_their_answer() -> None:
    limits = RequestLimits(receive_s=0.4, body_bytes=10_000)
    whole = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(GOOD), GOOD)
    hostile = {
        b"408 after some headers": [HEAD],
        b"408 after nothing": [b""],
        b"408 in the body": [HEAD + b"Content-Length: 100\r\n\r\n{"],
        b"413": [HEAD + b"Content-Length: 104857600\r\n\r\n"],
        b"431": [HEAD + b"X-More: " + b"x" * 100_000 + b"\r\n"],
        b"431 in one read": [HEAD + b"X-More: " + b"x" * 66_000 + b"\r\n\r\n"],
        b"431 of many": [HEAD + b"".join(b"X-%d: y\r\n" % n for n in range(9000)) + b"\r\n"],
        b"400 no HTTP": [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"],
        b"400 no length": [HEAD + b"Content-Length: ten\r\n\r\n"],
        b"400 two types": [HEAD + b"Content-Type: text/csv\r\nContent-Length: 2\r\n\r\n{}"],
        b"400 two encodings": [HEAD + b"Content-Encoding: gzip\r\n" * 2 + b"Content-Length: 2\r\n\r\n{}"],
        b"400 not JSON": [HEAD + b"Content-Length: 1\r\n\r\n{"],
    }

    async def story(port: int) -> None:
        bad = {name: asyncio.create_task(exchange(port, *pieces)) for name, pieces in hostile.items()}
        good = await asyncio.gather(*(exchange(port, whole) for _ in range(64)))
        assert all(b" 200 OK" in answer and b'"prediction": 1.0' in answer for answer in good)
        for name, task in bad.items():
            answer = await task
            assert b"HTTP/1.1 " + name[:3] in answer, name
            assert json.loads(answer.rpartition(b"\r\n\r\n")[2])["message"], name
        counted = server.service.figures.metric_value
        for status, least in (("408", 2), ("431", 3), ("400", 2)):
            path = {"path": "none", "status": status, "version": "none"}
            assert counted("velodrome_requests_total", **path) == least, status
        assert b" 200 OK" in await exchange(port, whole)

    server = Server(limits=limits)
    serve_story(server, limits, story)


def test_split_and_pipelined_requests_are_answered() -> None:
    whole = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(GOOD), GOOD)

    async def story(port: int) -> None:
        found = await exchange(port, *(whole[i : i + 40] for i in range(0, len(whole), 40)), pause_s=0.01)
        assert b" 200 OK" in found
        chunked = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        pieces = [b"%x\r\n%b\r\n" % (1, GOOD[i : i + 1]) for i in range(len(GOOD))]
        assert b" 200 OK" in await exchange(port, chunked, *pieces, b"0\r\n\r\n")
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):
            writer.write(whole)
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 OK" in head
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            assert json.loads(await reader.readexactly(length)) == {"predictions": [{"prediction": 1.0}]}
        writer.close()

    serve_story(Server(), RequestLimits(), story)


def test_client_that_disconnects_leaves_the_server_answering() -> None:
    async def story(port: int) -> None:
        for _ in range(20):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(GOOD), GOOD))
            await writer.drain()
            writer.close()
        await asyncio.sleep(0.3)
        whole = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(GOOD), GOOD)
        assert b" 200 OK" in await exchange(port, whole)

    serve_story(Server(ScriptedScorer(seconds=0.05)), RequestLimits(), story)


def test_port_in_use_is_wrong_input() -> None:
    listening = bind_socket("127.0.0.1", 0)
    listening.listen()
    with listening, pytest.raises(WrongInput, match="port free"):
        bind_socket("127.0.0.1", listening.getsockname()[1])


def test_idle_connections_of_one_client_keep_nobody_out() -> None:
    limits = RequestLimits(connections=400, client_connections=200)

    async def story(port: int) -> None:
        idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(1000)]
        for _, writer in idle[::2]:
            writer.write(b"GET /health HTTP/1.1\r\nHost: loc")  # headers that never end
        whole = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(GOOD), GOOD)
        for _ in range(20):
            assert b" 200 OK" in await exchange(port, whole)
            assert b" 200 OK" in await exchange(port, READY)
        ended = [reader for reader, _ in idle[:600] if reader.at_eof()]
        assert len(ended) > 500  # the oldest ones made room
        for _, writer in idle:
            writer.close()

    serve_story(Server(), limits, story)


def test_requests_beyond_a_clients_limit_are_503_and_probes_are_answered() -> None:
    limits = RequestLimits(client_connections=5)
    server = Server(ScriptedScorer(seconds=0.3))

    async def story(port: int) -> None:
        whole = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(GOOD), GOOD)
        asked = [asyncio.create_task(exchange(port, whole)) for _ in range(5)]
        await asyncio.sleep(0.1)
        for _ in range(7):
            assert b"HTTP/1.1 503" in await exchange(port, whole)
        probe = await exchange(port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b" 200 OK" in probe
        assert all(b" 200 OK" in answer for answer in await asyncio.gather(*asked))
        labels = {"path": "/invocations", "status": "503", "version": "none"}
        assert server.service.figures.metric_value("velodrome_requests_total", **labels) == 7

    serve_story(server, limits, story)


def test_client_that_reads_no_answer_is_dropped() -> None:
    limits = RequestLimits(answer_s=0.5)
    body = b'{"instances": [%b]}' % b",".join([b"1"] * 10_000)
    large = HEAD + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)

    async def story(port: int) -> None:
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(deaf, ("127.0.0.1", port))
            await loop.sock_sendall(deaf, large)
            async with asyncio.timeout(20):
                while accepted(port):
                    with suppress(BlockingIOError, ConnectionError):
                        deaf.send(large)
                    await asyncio.sleep(0.05)
        assert b" 200 OK" in await exchange(port, READY)

    serve_story(Server(), limits, story)


def accepted(port: int) -> int:
    """How many connections of the server's this process has open."""
    open_now = psutil.Process().net_connections("tcp4")
    return sum(one.laddr.port == port and one.status != psutil.CONN_LISTEN for one in open_now)


def test_upgrade_is_answered_as_if_it_had_not_been_asked_for(capfd: pytest.CaptureFixture[str]) -> None:
    async def story(port: int) -> None:
        upgrade = b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        found = await exchange(port, b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + upgrade)
        assert b" 200 OK" in found
        await exchange(port, b"nonsense\r\n\r\n")

    serve_story(Server(), RequestLimits(), story)
    assert "uvicorn" not in capfd.readouterr().err
