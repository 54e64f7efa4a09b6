"""What a request may cost at most, and the answer to one that would cost more or cannot be read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestLimits:
    """Bounds of one request and of all that wait.

    Attributes:
        body_bytes: of a request's body, unpacked where it is compressed.
        header_bytes: of a request's line and headers.
        rows: in one request.
        depth: of brackets within brackets in a JSON body; an image takes six.
        receive_s: until a request's headers, and then its body, have arrived.
        answer_s: until the answer is ready, waiting for a batch counted.
        waiting_rows: of all requests that are not yet with a replica.
        batch_rows: computed at once.
        connections: open at once; beyond them the oldest idle one is closed, and requests are 503.
        client_connections: of these, from one address.
    """

    body_bytes: int = 10 * 2**20
    header_bytes: int = 64 * 1024
    rows: int = 10_000
    depth: int = 16
    receive_s: float = 10.0
    answer_s: float = 30.0
    waiting_rows: int = 50_000
    batch_rows: int = 256
    connections: int = 2048
    client_connections: int = 1024


class ScoringError(Exception):
    """A request that is answered with an error: a status of HTTP, a reason in words, and headers."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        self.status = status
        self.reason = reason
        self.headers = dict(headers or {})
        super().__init__(reason)

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.status, self.reason, self.headers))


def bad_request(reason: str) -> ScoringError:
    """The request itself is wrong: 400."""
    return ScoringError(400, reason)
