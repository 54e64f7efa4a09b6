"""A job server as Ray's client sees one: packages, jobs and their logs, without a Ray."""

from __future__ import annotations

import asyncio
import io
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray
from aiohttp import WSMsgType, web


@dataclass
class FakeJobServer:
    """Jobs end as `ends` says as soon as their log was read to its end.

    Attributes:
        log: what each job prints.
        cuts: after how many characters each connection that follows a log breaks off, in order.
        ends: status, message and exit status.
        packages: names of the files in each folder that came.
        status: HTTP's of every answer; 200 answers.
        refuses: how many connections that would follow a log are refused.
        version: of Ray; empty for another kind of server.
        holds: whether jobs go on without end.
    """

    address: str = ""
    log: str = "one\ntwo\n"
    cuts: list[int] = field(default_factory=list)
    ends: tuple[str, str, int | None] = ("SUCCEEDED", "Job finished successfully.", 0)
    packages: dict[str, list[str]] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    status: int = 200
    refuses: int = 0
    version: str = ray.__version__
    holds: bool = False

    def app(self) -> web.Application:
        """Its routes."""
        app = web.Application(middlewares=[self._refuse])
        app.router.add_get("/api/version", self._version)
        app.router.add_get("/api/packages/gcs/{name}", self._package)
        app.router.add_put("/api/packages/gcs/{name}", self._receive)
        app.router.add_get("/api/jobs/", self._list)
        app.router.add_post("/api/jobs/", self._submit)
        app.router.add_get("/api/jobs/{job}", self._job)
        app.router.add_get("/api/jobs/{job}/logs/tail", self._tail)
        return app

    @web.middleware
    async def _refuse(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self.status != 200:
            return web.Response(status=self.status, text="Unauthorized")
        answer: web.StreamResponse = await handler(request)
        return answer

    async def _version(self, _request: web.Request) -> web.Response:
        named = {"ray_version": self.version} if self.version else {}
        return web.json_response({"version": "4", "ray_commit": "", **named})

    async def _package(self, request: web.Request) -> web.Response:
        return web.Response(status=200 if request.match_info["name"] in self.packages else 404)

    async def _receive(self, request: web.Request) -> web.Response:
        with zipfile.ZipFile(io.BytesIO(await request.read())) as received:
            names = sorted(name for name in received.namelist() if not name.endswith("/"))
        self.packages[request.match_info["name"]] = names
        return web.Response()

    async def _list(self, _request: web.Request) -> web.Response:
        return web.json_response(list(self.jobs.values()))

    async def _submit(self, request: web.Request) -> web.Response:
        asked = await request.json()
        job = asked["submission_id"]
        self.jobs[job] = {**asked, "type": "SUBMISSION", "status": "RUNNING"}
        return web.json_response({"job_id": job, "submission_id": job})

    async def _job(self, request: web.Request) -> web.Response:
        return web.json_response(self.jobs[request.match_info["job"]])

    async def _tail(self, request: web.Request) -> web.WebSocketResponse:
        if self.refuses:
            self.refuses -= 1
            raise web.HTTPInternalServerError
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if self.cuts:
            await socket.send_str(self.log[: self.cuts.pop(0)])
            await socket.close(code=1000)
            return socket
        for line in self.log.splitlines(keepends=True):
            await socket.send_str(line)
        if self.holds:
            while (await socket.receive()).type not in {WSMsgType.CLOSE, WSMsgType.CLOSED, WSMsgType.ERROR}:
                pass
            return socket
        status, message, code = self.ends
        self.jobs[request.match_info["job"]] |= {
            "status": status, "message": message, "driver_exit_code": code,
        }  # fmt: skip
        await socket.close(code=1000)
        return socket


@contextmanager
def run_job_server() -> Iterator[FakeJobServer]:
    """One on a port of the loopback interface, in a thread of its own."""
    server, loop, started = FakeJobServer(), asyncio.new_event_loop(), threading.Event()
    runner = web.AppRunner(server.app(), shutdown_timeout=0.1)

    async def start() -> None:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.address = f"http://127.0.0.1:{runner.addresses[0][1]}"

    def serve() -> None:
        loop.run_until_complete(start())
        loop.call_soon(started.set)
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    assert started.wait(30)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
