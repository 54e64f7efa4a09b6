"""The HTTP server: uvicorn within our limits, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import resource
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from types import FrameType

import uvicorn

from infra.errors import WrongInput
from infra.serving.http.app import ScoringApp
from infra.serving.http.connections import protocol_class
from infra.serving.limits import RequestLimits
from infra.serving.readiness import Readiness

BACKLOG = 1024
KEEP_ALIVE_S = 30
END_LIMIT_S = 10
SPARE_FILES = 512  # what a process has open beside its connections


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


class DrainingServer(uvicorn.Server):
    """Answers on for a while after SIGTERM, so that a platform can send its requests elsewhere first."""

    def __init__(self, config: uvicorn.Config, readiness: Readiness, drain_s: float) -> None:
        super().__init__(config)
        self._readiness, self._drain_s = readiness, drain_s
        self._end_at = math.inf

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first SIGTERM begins the draining; SIGINT, or another SIGTERM, ends it."""
        if sig == signal.SIGTERM and not self._readiness.draining and self._drain_s > 0:
            self._captured_signals.append(sig)
            self._readiness.draining = True
            self._end_at = time.monotonic() + self._drain_s
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """As uvicorn calls it, ten times a second."""
        return await super().on_tick(counter) or time.monotonic() >= self._end_at


async def run_server(
    app: ScoringApp,
    listening: socket.socket,
    limits: RequestLimits,
    *,
    started: Callable[[], Awaitable[None]],
    drain_s: float = 0.0,
) -> None:
    """Answers until the process gets SIGINT or SIGTERM; requests that are being answered still are.

    Args:
        started: called once it listens.
        drain_s: so long after SIGTERM requests are answered, while `/health/ready` says no.
    """
    _raise_file_limit(limits.connections + SPARE_FILES)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # what is no HTTP is answered and counted
    config = uvicorn.Config(
        app, http=protocol_class(limits, app.count_refused), loop="uvloop", lifespan="off", log_config=None,
        access_log=False, backlog=BACKLOG, timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=END_LIMIT_S, server_header=False, ws="none", proxy_headers=False,
    )  # fmt: skip
    server = DrainingServer(config, app.readiness, drain_s)
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


def _raise_file_limit(wanted: int) -> None:
    """Each connection is an open file, and many systems let a process have 1,024 unless it asks for more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
