"""The server's ASGI application: who may ask, what is counted and logged of every request, and its errors.

Starlette finds the path; what every request passes stands around it, so that nothing is answered uncounted.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.serving.exchange import Exchange, begin_exchange
from infra.serving.http.access_control import PROBES, AccessControl
from infra.serving.http.access_log import AccessLog
from infra.serving.http.endpoints import Endpoints
from infra.serving.http.responses import error_response
from infra.serving.limits import ScoringError
from infra.serving.metrics import ReadinessCollector
from infra.serving.readiness import Readiness
from infra.serving.service import ScoringService

SHARE = 0.1
FIXED_S = 0.0004  # of reading a request's headers and writing its answer
LONGEST_S = 5.0

OVERLOADED = "velodrome.overloaded"
"""In a request's state: whether its client, or all together, have too many connections."""
OTHER_PATH = "other"
_ONCE = (b"host", b"authorization", b"content-length", b"origin", b"content-type", b"content-encoding")


class ScoringApp:
    """An ASGI application for one model."""

    def __init__(
        self,
        service: ScoringService,
        admission: AccessControl,
        model: str,
        *,
        readiness: Readiness | None = None,
        access_log: AccessLog | None = None,
    ) -> None:
        """Prepares.

        Args:
            model: its name in paths and documents.
            readiness: kept by whoever watches the replicas and the signals.
            access_log: told of every request.
        """
        self._service, self._admission, self._access_log = service, admission, access_log
        self.readiness = readiness or Readiness()
        service.figures.add_collector(ReadinessCollector(self.readiness, service.standing))
        self._throttle = ErrorThrottle()
        routes = Endpoints(service, self.readiness, model, secured=admission.token is not None).routes()
        self._paths = frozenset(route.path for route in routes)
        app = Starlette(routes=routes)
        app.router.redirect_slashes = False
        for kind in (ScoringError, HTTPException, ClientDisconnect):
            app.add_exception_handler(kind, _answer_error)  # type: ignore[arg-type]  # None where nobody hears
        self._routed: ASGIApp = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; websockets are closed."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] == "http":
            await self._observe(scope, receive, send)

    async def _observe(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        exchange = begin_exchange(headers.get(b"x-request-id", ""), headers.get(b"traceparent", ""))
        state = scope.setdefault("state", {})
        state["exchange"] = exchange

        async def send_observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                if 400 <= exchange.status < 500:
                    await self._throttle.wait(exchange.read_s)
                message["headers"] = [*message["headers"], *self._headers_for(exchange)]
            await send(message)

        try:
            await self._answer(scope, receive, send_observed, headers)
        finally:
            self._note_end(scope, exchange)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, headers: Mapping[bytes, str]) -> None:
        method, path = str(scope["method"]), str(scope["path"])
        try:
            _check_headers(scope)
            self._admission.check_request(
                method, path, {name.decode("latin-1"): value for name, value in headers.items()}
            )
            if scope["state"].get(OVERLOADED) and path not in PROBES:
                raise ScoringError(503, "too many connections are open; try again later")
        except ScoringError as error:
            scope["state"]["exchange"].reason = error.reason
            await error_response(error, method, path)(scope, receive, send)
            return
        await self._routed(scope, receive, send)

    def _headers_for(self, exchange: Exchange) -> list[tuple[bytes, bytes]]:
        headers = [
            (b"x-request-id", exchange.request_id.encode()),
            (b"traceparent", exchange.traceparent.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"cache-control", b"no-store"),
        ]
        if exchange.version:
            headers.append((b"x-velodrome-version", exchange.version.encode()))
        if self.readiness.draining:  # whoever keeps the connection for later should go elsewhere
            headers.append((b"connection", b"close"))
        return headers

    def _note_end(self, scope: Scope, exchange: Exchange) -> None:
        seconds = time.perf_counter() - exchange.started
        route, path = scope.get("route"), str(scope["path"])
        known = route.path if route is not None else path if path in self._paths else OTHER_PATH
        self._service.figures.count_request(known, exchange.status, exchange.version, seconds)
        if self._access_log is not None:
            self._access_log.write(scope, exchange, seconds)

    def count_refused(self, status: int) -> None:
        """Counts what was answered before it was a request: broken or slow headers."""
        self._service.figures.count_request("none", status, None, 0.0)


def _check_headers(scope: Scope) -> None:
    seen = [name for name, _ in scope["headers"] if name in _ONCE]
    if len(seen) != len(set(seen)):
        twice = next(name for name in seen if seen.count(name) > 1).decode()
        raise ScoringError(400, f"the header {twice} must stand there once")


async def _answer_error(request: Request, error: Any) -> Response | None:
    if isinstance(error, ClientDisconnect):
        return None
    if isinstance(error, HTTPException):  # Starlette's own: no such path, or not with that method
        error = _route_error(request, error)
    request.state.exchange.reason = error.reason
    return error_response(error, request.method, request.url.path)


def _route_error(request: Request, error: HTTPException) -> ScoringError:
    if error.status_code == 405:
        allowed = ", ".join(sorted((error.headers or {}).get("Allow", "").split(", ")))
        reason = f"the method must be {allowed.replace(', ', ' or ')}, but got {request.method[:20]!r}"
        return ScoringError(405, reason, {"allow": allowed})
    if error.status_code == 404:
        return ScoringError(
            404, f"the path must be one that /openapi.json names, but got {request.url.path[:80]!r}"
        )
    return ScoringError(error.status_code, str(error.detail))


class ErrorThrottle:
    """Spaces the answers to wrong requests by what they cost.

    A client that waits for its answer sends nothing meanwhile, so all wrong requests together take `share` of
    the time, however many clients send them; a single one waits milliseconds.
    """

    def __init__(self, share: float = SHARE, longest_s: float = LONGEST_S) -> None:
        """Prepares.

        Args:
            share: of the time that wrong requests may take, between 0 and 1.
            longest_s: nobody waits longer, even if then the share is exceeded.
        """
        self._pause_per_s, self._longest_s = 1 / share - 1, longest_s
        self._free_at = 0.0

    async def wait(self, cost_s: float) -> None:
        """Returns when the answer to a wrong request may leave.

        Args:
            cost_s: seconds that reading it took.
        """
        now = time.monotonic()
        self._free_at = max(now, self._free_at) + (cost_s + FIXED_S) * self._pause_per_s
        self._free_at = min(self._free_at, now + self._longest_s)
        await asyncio.sleep(self._free_at - now)
