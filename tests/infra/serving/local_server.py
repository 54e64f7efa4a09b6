"""A server without Ray in a process of its own, for what needs signals, sockets and other programs.

    python -m tests.infra.serving.local_server PORT DRAIN_S [BUNDLE]

It answers with a scripted scorer, or with the bundle's model.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import uvloop

from infra.serving.artifact import Artifact, read_artifact
from infra.serving.http.http_server import bind_socket, run_server
from infra.serving.limits import RequestLimits
from tests.infra.serving.scripted_server import Aliases, LocalScorer, ScriptedScorer, Server


class OneBundle(Aliases):
    """A registry that has one bundle."""

    def __init__(self, bundle: Path) -> None:
        super().__init__()
        self.bundle = bundle

    def fetch(self, key: str, folder: Path) -> Artifact:
        """As `Source`."""
        return read_artifact(key, self.bundle)


async def serve(port: int, drain_s: float, bundle: Path | None) -> None:
    """Answers until a signal."""
    limits = RequestLimits(answer_s=5.0 if bundle is None else 60.0)  # 10,000 texts beside other tests
    server = (
        Server(ScriptedScorer(seconds=0.005), limits=limits)
        if bundle is None
        else Server(LocalScorer(), OneBundle(bundle), limits=limits)
    )
    await server.follower.poll_once()
    watching = asyncio.create_task(server.readiness.watch_forever(server.scorer, server.batcher))

    async def started() -> None:
        print("up", flush=True)

    await run_server(server.app, bind_socket("127.0.0.1", port), limits, started=started, drain_s=drain_s)
    watching.cancel()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3]) if sys.argv[3:] else None))
