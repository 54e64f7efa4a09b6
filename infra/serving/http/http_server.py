"""The HTTP server: uvicorn, with a limit on how long a request's headers may take."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from infra.errors import WrongInput
from infra.serving.limits import RequestLimits

if TYPE_CHECKING:
    from infra.serving.http.app import ScoringApp

BACKLOG = 1024
KEEP_ALIVE_S = 30
END_LIMIT_S = 10

HEADER_BYTES = 64 * 1024


def bind_socket(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        port: 0 for any that is free.

    Raises:
        WrongInput: the address cannot be had.
    """
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise WrongInput(
            "the server's address must be this machine's, and its port free",
            f"{host}:{port}: {error.strerror}",
            "choose another with --port",
        ) from error
    return listening


async def run_server(
    app: ScoringApp,
    listening: socket.socket,
    limits: RequestLimits,
    *,
    started: Callable[[], Awaitable[None]],
) -> None:
    """Answers until the process gets SIGINT or SIGTERM; requests that are being answered still are.

    Args:
        started: called once it listens.
    """
    import uvicorn

    config = uvicorn.Config(
        app, http=_protocol_class(limits), loop="uvloop", lifespan="off", log_config=None, access_log=False,
        backlog=BACKLOG, timeout_keep_alive=KEEP_ALIVE_S, limit_concurrency=limits.connections,
        timeout_graceful_shutdown=END_LIMIT_S, server_header=False, ws="none", proxy_headers=False,
    )  # fmt: skip
    server = uvicorn.Server(config)
    answering = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        while not server.started and not answering.done():
            await asyncio.sleep(0.01)
        await started()
        await asyncio.shield(answering)  # whoever cancels this gets a server that ends as by a signal
    finally:
        server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await answering


def _protocol_class(limits: RequestLimits) -> type[asyncio.Protocol]:
    """uvicorn's protocol has no limit on headers that never end; this one has."""
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class HeaderTimeoutProtocol(HttpToolsProtocol):
        _late: asyncio.TimerHandle | None = None
        _header_bytes = 0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._start_header_timer()

        def connection_lost(self, exc: Exception | None) -> None:
            self._cancel_header_timer()
            super().connection_lost(exc)

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._header_bytes = 0
            self._start_header_timer()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._late is not None:  # headers that are not complete yet
                self._header_bytes += len(data)
                if self._header_bytes > HEADER_BYTES:
                    reason = f"at most {HEADER_BYTES} bytes of headers"
                    self._close_with_error(b"431 Request Header Fields Too Large", reason)

        def on_headers_complete(self) -> None:
            self._cancel_header_timer()
            super().on_headers_complete()

        def _start_header_timer(self) -> None:
            if self._late is None:
                self._late = self.loop.call_later(limits.receive_s, self._reject_slow_headers)

        def _cancel_header_timer(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

        def _reject_slow_headers(self) -> None:
            self._close_with_error(
                b"408 Request Timeout", f"the headers must arrive within {limits.receive_s:g} s"
            )

        def _close_with_error(self, status: bytes, reason: str) -> None:
            self._cancel_header_timer()
            if not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
                body = json.dumps({"error_code": "BAD_REQUEST", "message": reason}).encode()
                self.transport.write(
                    b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
                    b"connection: close\r\n\r\n%b" % (status, len(body), body)
                )
            self.transport.close()

    return HeaderTimeoutProtocol
