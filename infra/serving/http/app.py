"""The server's ASGI application: paths, limits of time and size, and who may ask.

Written against ASGI itself: a body must be counted while it arrives, and a framework's routing would cost as
much as reading a small request does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any

from infra.serving.http.access_control import AccessControl
from infra.serving.http.throttle import ErrorThrottle
from infra.serving.limits import ScoringError
from infra.serving.metrics import CONTENT_TYPE
from infra.serving.service import Reply, ScoringService, error_body

if TYPE_CHECKING:
    from trainers.types import Json, JsonObject

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

METHODS = {
    "/invocations": ("POST",),
    "/health": ("GET", "HEAD"),
    "/ping": ("GET", "HEAD"),
    "/version": ("GET", "HEAD"),
    "/metrics": ("GET", "HEAD"),
}
JSON = "application/json"


class ClientDisconnected(Exception):
    """Whoever asked has hung up."""


class ScoringApp:
    """An ASGI application for one model."""

    def __init__(self, service: ScoringService, admission: AccessControl, about: Mapping[str, Json]) -> None:
        """Prepares.

        Args:
            about: what `/version` says beside the versions that answer.
        """
        self._service, self._admission, self._about = service, admission, dict(about)
        self._turnstile = ErrorThrottle()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; websockets are closed."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] == "http":
            await self._answer_http(scope, receive, send)

    async def _answer_http(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = str(scope["method"]), str(scope["path"])
        kind, close = JSON, False
        try:
            headers = _parse_headers(scope)
            self._admission.check_request(method, path, headers)
            _check_path(method, path)
            if path == "/invocations":
                body = await self._read_body(headers, receive)
                reply = await self._service.invoke(body, headers.get("content-type", ""))
            else:
                reply, kind = self._answer_get(path)
        except ScoringError as error:
            # What is left of the body is not read, so the connection cannot carry another request.
            reply, kind, close = Reply(status=error.status, body=error_body(error)), JSON, method == "POST"
        except ClientDisconnected:
            return
        if 400 <= reply.status < 500:
            await self._turnstile.wait(reply.read_s)
        await _send_reply(send, reply, kind, close=close, silent=method == "HEAD")

    async def _read_body(self, headers: Mapping[str, str], receive: Receive) -> bytes:
        limits = self._service.limits
        if headers.get("content-encoding", "identity") != "identity":
            raise ScoringError(415, "a compressed body is not read: send it as it is")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > limits.body_bytes:
            raise _body_size_error(limits.body_bytes, f"{length[:20]} bytes")
        try:
            async with asyncio.timeout(limits.receive_s):
                return await _receive_body(receive, limits.body_bytes)
        except TimeoutError:
            raise ScoringError(408, f"the body must arrive within {limits.receive_s:g} s") from None

    def _answer_get(self, path: str) -> tuple[Reply, str]:
        if path == "/metrics":
            return Reply(status=200, body=self._service.figures.metrics_text()), CONTENT_TYPE
        standing = self._service.standing
        champion = standing.answering.get("champion")
        if path == "/version":
            versions = {str(role): key for role, key in standing.answering.items() if key}
            body: JsonObject = {**self._about, **versions}
            body |= {"refused": standing.refused, "trouble": standing.trouble}
            return Reply(status=200, body=json.dumps(body).encode(), version=champion), JSON
        status = 200 if champion else 503
        return Reply(status=status, body=b'{"status": "%b"}' % (b"ok" if champion else b"starting")), JSON


def _parse_headers(scope: Scope) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name = raw.decode("latin-1").lower()
        if name in headers and name in ("host", "authorization", "content-length", "origin"):
            raise ScoringError(400, f"the header {name} must stand there once")
        headers[name] = value.decode("latin-1")
    return headers


def _check_path(method: str, path: str) -> None:
    if path not in METHODS:
        raise ScoringError(404, f"the path must be one of {', '.join(METHODS)}, but got {path[:80]!r}")
    if method not in METHODS[path]:
        raise ScoringError(405, f"the method must be {' or '.join(METHODS[path])}, but got {method[:20]!r}")


async def _receive_body(receive: Receive, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        part = message.get("body", b"")
        size += len(part)
        if size > most:
            raise _body_size_error(most, "more")
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts) if len(parts) > 1 else parts[0]


def _body_size_error(most: int, found: str) -> ScoringError:
    return ScoringError(413, f"a body must have at most {most} bytes, but got {found}")


async def _send_reply(send: Send, reply: Reply, kind: str, *, close: bool, silent: bool) -> None:
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(reply.body)).encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"cache-control", b"no-store"),
    ]
    if reply.version:
        headers.append((b"x-velodrome-version", reply.version.encode()))
    if close:
        headers.append((b"connection", b"close"))
    if reply.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if reply.status == 503:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if silent else reply.body})
