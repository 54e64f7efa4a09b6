"""Answers as MLflow's scoring server words them, errors among them."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.responses import Response

from infra.serving.limits import ScoringError

JSON = "application/json"
_CODES = {
    400: "BAD_REQUEST", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "ENDPOINT_NOT_FOUND",
    405: "METHOD_NOT_ALLOWED", 408: "REQUEST_TIMEOUT", 413: "REQUEST_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE", 431: "REQUEST_HEADERS_TOO_LARGE", 503: "TEMPORARILY_UNAVAILABLE",
}  # fmt: skip
_HEADERS: Mapping[int, Mapping[str, str]] = {401: {"www-authenticate": "Bearer"}, 503: {"retry-after": "1"}}
V2 = "/v2"


def error_body(status: int, reason: str, path: str = "") -> bytes:
    """An error's document: MLflow's, or below `/v2` the Open Inference Protocol's."""
    if path == V2 or path.startswith(f"{V2}/"):
        return json.dumps({"error": reason}).encode()
    return json.dumps({"error_code": _CODES.get(status, "INTERNAL_ERROR"), "message": reason}).encode()


def error_response(error: ScoringError, method: str, path: str) -> Response:
    """An error as a response.

    What is left of a body is not read, so that its connection cannot carry another request.
    """
    headers = {**_HEADERS.get(error.status, {}), **error.headers}
    if method not in ("GET", "HEAD"):
        headers["connection"] = "close"
    return Response(error_body(error.status, error.reason, path), error.status, headers, JSON)


def json_response(document: object, status: int = 200) -> Response:
    """A document as a response."""
    return Response(json.dumps(document, ensure_ascii=False).encode(), status, None, JSON)
