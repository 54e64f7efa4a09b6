"""A line of JSON a request: who asked what, when, and how it ended. No values of rows stand there."""

from __future__ import annotations

import json
import logging.handlers
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from infra.errors import StorageUnavailable
from infra.serving.exchange import Exchange

if TYPE_CHECKING:
    from starlette.types import Scope

STANDARD_OUTPUT = "-"
_FOUND = re.compile(r"[,;] but ")  # what follows is what was found, which may be a row's value


class AccessLog:
    """Lines to a file, which may be rotated by another program, or to standard output."""

    def __init__(self, target: str) -> None:
        """Opens it.

        Args:
            target: a path, or `-`.

        Raises:
            StorageUnavailable: it cannot be written.
        """
        try:
            self._handler: logging.Handler = (
                logging.StreamHandler(sys.stdout)
                if target == STANDARD_OUTPUT
                else logging.handlers.WatchedFileHandler(Path(target), encoding="utf-8")
            )
        except OSError as error:
            raise StorageUnavailable(
                "the access log must be writable", f"{target}: {error.strerror}", "see --access-log"
            ) from error

    def write(self, scope: Scope, exchange: Exchange, seconds: float) -> None:
        """A request has ended."""
        client = scope.get("client")
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "method": scope["method"],
            "path": str(scope["path"])[:200],
            "status": exchange.status,
            "seconds": round(seconds, 6),
            "client": client[0] if client else None,
            "version": exchange.version,
            "rows": exchange.rows,
            "request_id": exchange.request_id,
            "trace_id": exchange.trace_id,
            "span_id": exchange.span_id,
        }
        if exchange.reason:
            line["error"] = _FOUND.split(exchange.reason)[0][:200]
        text = json.dumps(line, ensure_ascii=True)
        self._handler.emit(logging.LogRecord("access", logging.INFO, "", 0, text, None, None))

    def close(self) -> None:
        """Ends it."""
        self._handler.close()
