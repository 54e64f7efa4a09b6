"""A load generator: so many clients, each with one connection and one request at a time, over raw sockets.

Made to cost little: a request is one write, an answer is read by its Content-Length. A process of its own:

    python -m benchmarks.load --port 8000 --clients 64 --seconds 5 --body body.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypedDict, cast

import numpy as np
import uvloop

ANSWER_LIMIT_S = 60.0


class LoadSummary(TypedDict):
    """What came back."""

    clients: int
    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    statuses: dict[str, int]


class Client(asyncio.Protocol):
    """One connection; sends the next request when an answer is complete."""

    def __init__(self, requests: Sequence[bytes], until: float, most: int) -> None:
        self.requests, self.until, self.left = requests, until, most
        self.seconds: list[float] = []
        self.statuses: dict[str, int] = {}
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._buffer = b""
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends the first request."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by class
        self._send()

    def _send(self) -> None:
        if time.perf_counter() >= self.until or not self.left:
            self._end()
            return
        self.left -= 1
        self._sent_at = time.perf_counter()
        self._transport.write(self.requests[self.left % len(self.requests)])

    def data_received(self, data: bytes) -> None:
        """Takes a part of an answer."""
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lines = head.lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
        if len(body) < length:
            return
        self.seconds.append(time.perf_counter() - self._sent_at)
        status = head[9:12].decode()
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self._buffer = b""
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        """Counts a connection that the server closed."""
        if not self.ended.done():
            self.statuses["lost"] = self.statuses.get("lost", 0) + 1
            self._end()

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
        self._transport.close()


async def send_load(
    port: int, bodies: Sequence[bytes], clients: int, seconds: float, most: int = 10**9
) -> LoadSummary:
    """Requests for some seconds, or until each client has sent so many, in turn; what came back."""
    head = f"POST /invocations HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    requests = [head.encode() + b"Content-Length: %d\r\n\r\n%b" % (len(body), body) for body in bodies]
    began = time.perf_counter()
    loop = asyncio.get_running_loop()
    made = await asyncio.gather(
        *(
            loop.create_connection(lambda: Client(requests, began + seconds, most), "127.0.0.1", port)
            for _ in range(clients)
        )
    )
    async with asyncio.timeout(seconds + ANSWER_LIMIT_S):
        await asyncio.gather(*(client.ended for _, client in made))
    return _summary([client for _, client in made], time.perf_counter() - began)


def _summary(clients: list[Client], seconds: float) -> LoadSummary:
    taken = np.array([value for client in clients for value in client.seconds])
    statuses: dict[str, int] = {}
    for client in clients:
        for status, count in client.statuses.items():
            statuses[status] = statuses.get(status, 0) + count
    p50, p99 = np.percentile(taken, [50, 99]) * 1e3 if len(taken) else (np.nan, np.nan)
    return {
        "clients": len(clients), "requests": len(taken), "per_second": len(taken) / seconds,
        "p50_ms": float(p50), "p99_ms": float(p99), "statuses": statuses,
    }  # fmt: skip


def main() -> None:
    """Prints the summary as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--body", type=Path, nargs="+", required=True)
    given = parser.parse_args()
    bodies = [path.read_bytes() for path in given.body]
    print(json.dumps(uvloop.run(send_load(given.port, bodies, given.clients, given.seconds))))


if __name__ == "__main__":
    main()
