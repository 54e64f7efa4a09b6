"""MLflow's own server with pages that open on training: its app `mlflow server --app-name velodrome`.

The UI opens an experiment of its list on pages for language models, whatever the experiment's tags say. A
script in its page makes training the first choice and opens a sweep's experiment on the view of the sweep.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
SCRIPT = Path(__file__).with_name("open_experiments.js")
_CACHING = (b"etag", b"last-modified", b"cache-control", b"content-length")
_CONDITIONS = (b"if-none-match", b"if-modified-since", b"accept-encoding", b"range")


def create_app() -> App:
    """The ASGI app that MLflow starts by the name `velodrome`."""
    from mlflow.server.fastapi_app import app
    from mlflow.server.handlers import STATIC_PREFIX_ENV_VAR

    return OpensOnTraining(app, SCRIPT.read_text(), prefix=os.environ.get(STATIC_PREFIX_ENV_VAR, ""))


class OpensOnTraining:
    """An ASGI app whose first page has a script of ours before all others; everything else is passed on.

    Args:
        prefix: MLflow's `--static-prefix`, the path that its page lies at.
    """

    def __init__(self, app: App, script: str, *, prefix: str = "") -> None:
        self._app, self._prefix = app, prefix.rstrip("/")
        self._tag = f"<head><script>{script}</script>".encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if (
            scope["type"] != "http"
            or scope["method"] != "GET"
            or scope["path"] not in (self._prefix or "/", f"{self._prefix}/")
        ):
            await self._app(scope, receive, send)
            return
        headers = [(name, value) for name, value in scope["headers"] if name not in _CONDITIONS]
        start: Message = {}
        body = bytearray()

        async def collect(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            else:
                body.extend(message.get("body", b""))

        await self._app({**scope, "headers": headers}, receive, collect)
        page = bytes(body).replace(b"<head>", self._tag, 1)
        kept = [(name, value) for name, value in start["headers"] if name.lower() not in _CACHING]
        kept += [(b"content-length", str(len(page)).encode()), (b"cache-control", b"no-cache")]
        await send({**start, "headers": kept})
        await send({"type": "http.response.body", "body": page})
