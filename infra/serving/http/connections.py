"""Open connections: how many there may be, whose, and for how long headers may take.

An idle connection costs nothing but its place: beyond the limits the oldest idle one is closed, so that
nobody can keep others out by holding connections open.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from http import HTTPStatus
from typing import TypeAlias

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from infra.serving.http.app import OVERLOADED
from infra.serving.http.responses import error_body
from infra.serving.limits import RequestLimits

Clients: TypeAlias = "defaultdict[str, dict[HeaderLimitProtocol, None]]"


class ConnectionTable:
    """The connections of one server, by the address of whoever opened them, oldest first."""

    def __init__(self, limits: RequestLimits) -> None:
        self._limits = limits
        self._open: Clients = defaultdict(dict)
        self._idle: Clients = defaultdict(dict)
        self._count = self._busy = 0

    def add(self, connection: HeaderLimitProtocol, client: str) -> None:
        """A connection was opened; where that is one too many, an idle one is closed."""
        self._open[client][connection] = self._idle[client][connection] = None
        self._count += 1
        if len(self._open[client]) > self._limits.client_connections:
            self._close_oldest(client, connection)
        elif self._count > self._limits.connections:
            self._close_oldest(max(self._idle, key=lambda name: len(self._idle[name])), connection)

    def remove(self, connection: HeaderLimitProtocol, client: str) -> None:
        """A connection was closed."""
        if connection in self._open[client]:
            self._count -= 1
            self._busy -= connection not in self._idle[client]
        for table in (self._open, self._idle):
            table[client].pop(connection, None)
            if not table[client]:
                del table[client]

    def begin_request(self, connection: HeaderLimitProtocol, client: str) -> bool:
        """A request's headers have arrived; whether there are more requests than there may be."""
        if connection in self._idle[client]:
            del self._idle[client][connection]
            self._busy += 1
        busy = len(self._open[client]) - len(self._idle[client])
        return self._busy > self._limits.connections or busy > self._limits.client_connections

    def end_request(self, connection: HeaderLimitProtocol, client: str) -> None:
        """A request was answered; the connection waits for another."""
        if connection in self._open[client] and connection not in self._idle[client]:
            self._idle[client][connection] = None
            self._busy -= 1

    def _close_oldest(self, client: str, newest: HeaderLimitProtocol) -> None:
        """Closes the client's oldest idle connection; the newest may be a probe's, and stays."""
        oldest = next(iter(self._idle[client]), newest)
        if oldest is not newest:
            oldest.close_soon()
            self.remove(oldest, client)


class HeaderLimitProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which closes what sends its headers too slowly, or too many, and says in JSON what
    is no HTTP.

    Attributes:
        table: of all connections of the server.
        limits: of its requests.
        count_refused: told the status of what was answered before it was a request.
    """

    table: ConnectionTable
    limits: RequestLimits
    count_refused: Callable[[int], None]
    _late: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _unparsed_bytes = 0
    _header_bytes = 0
    _client = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Counts it, and waits for headers."""
        super().connection_made(transport)
        self._client = self.client[0] if self.client else ""
        self.table.add(self, self._client)
        self._start_header_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets it."""
        self._cancel_header_timer()
        self._cancel_unread_timer()
        self.table.remove(self, self._client)
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Waits for a request's headers."""
        super().on_message_begin()
        self._unparsed_bytes = self._header_bytes = 0
        self._start_header_timer()

    def data_received(self, data: bytes) -> None:
        """Counts what has arrived of headers that are not complete."""
        super().data_received(data)
        if self._late is not None:
            self._unparsed_bytes += len(data)
            if self._unparsed_bytes > self.limits.header_bytes:
                self._refuse_long_headers()

    def on_url(self, url: bytes) -> None:
        """Counts the request's line."""
        self._count_header(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Counts a header, also of those that arrive in one piece."""
        self._count_header(len(name) + len(value) + len(b": \r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hands the request on."""
        self._cancel_header_timer()
        self.scope["state"][OVERLOADED] = self.table.begin_request(self, self._client)
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Takes the connection for idle, unless its next request is here already."""
        if not self.pipeline:
            self.table.end_request(self, self._client)
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """As uvicorn calls it for what is no HTTP."""
        if self._header_bytes > self.limits.header_bytes:
            self._refuse_long_headers()
        else:
            self._close_with_error(400, "the request must be HTTP/1.1, with a method that is known")

    def pause_writing(self) -> None:
        """An answer waits to be read: whoever never does so keeps neither the connection nor the memory."""
        super().pause_writing()
        self._cancel_unread_timer()
        self._unread = self.loop.call_later(self.limits.answer_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The answer is being read."""
        self._cancel_unread_timer()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Closes what has been idle for long."""
        self.close_soon()

    def close_soon(self) -> None:
        """Closes once what was written has been read, or after a while."""
        if not self.transport.is_closing():
            self.transport.close()
            self._cancel_unread_timer()
            self._unread = self.loop.call_later(self.limits.answer_s, self.transport.abort)

    def _cancel_unread_timer(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _unsupported_upgrade_warning(self) -> None:
        """An upgrade is answered as if it had not been asked for; nobody needs to install anything."""

    def _count_header(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > self.limits.header_bytes:
            raise ValueError("too many")  # which ends the parser, and comes to `send_400_response`

    def _start_header_timer(self) -> None:
        if self._late is None:
            self._late = self.loop.call_later(self.limits.receive_s, self._refuse_slow_headers)

    def _cancel_header_timer(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _refuse_long_headers(self) -> None:
        self._close_with_error(431, f"headers must have at most {self.limits.header_bytes} bytes")

    def _refuse_slow_headers(self) -> None:
        self._close_with_error(408, f"the headers must arrive within {self.limits.receive_s:g} s")

    def _close_with_error(self, status: int, reason: str) -> None:
        self._cancel_header_timer()
        if not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
            body = error_body(status, reason)
            self.transport.write(
                b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
                b"connection: close\r\n\r\n%b" % (status, HTTPStatus(status).phrase.encode(), len(body), body)
            )
            self.count_refused(status)
        self.close_soon()


def protocol_class(limits: RequestLimits, count: Callable[[int], None]) -> type[asyncio.Protocol]:
    """The protocol for one server.

    Args:
        count: told the status of what was answered before it was a request.
    """

    class LimitedProtocol(HeaderLimitProtocol):
        pass

    LimitedProtocol.table, LimitedProtocol.limits = ConnectionTable(limits), limits
    LimitedProtocol.count_refused = staticmethod(count)
    return LimitedProtocol
