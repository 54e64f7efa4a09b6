"""A request's body: counted while it arrives, unpacked where it is compressed."""

from __future__ import annotations

import asyncio
import zlib
from typing import TYPE_CHECKING

from infra.serving.limits import RequestLimits, ScoringError, bad_request

if TYPE_CHECKING:
    from starlette.requests import Request

GZIP_WINDOW = 16 + zlib.MAX_WBITS
MOST_MEMBERS = 200  # each copies what comes after it


async def read_body(request: Request, limits: RequestLimits) -> bytes:
    """The whole body.

    Raises:
        ScoringError: 413 for one that is too large, 408 for one that takes too long, 415 for a compression
            that is not read, 400 for one that is damaged.
        ClientDisconnect: whoever asked has hung up.
    """
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip"):
        raise ScoringError(
            415,
            f"Content-Encoding must be gzip or none, but got {encoding[:40]!r}",
            {"accept-encoding": "gzip"},
        )
    length = request.headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > limits.body_bytes:
        raise _body_size_error(limits.body_bytes, f"{length[:20]} bytes")
    try:
        async with asyncio.timeout(limits.receive_s):
            body = await _receive_body(request, limits.body_bytes)
    except TimeoutError:
        raise ScoringError(408, f"the body must arrive within {limits.receive_s:g} s") from None
    if encoding == "identity":
        return body
    return await asyncio.to_thread(unpack_gzip, body, limits.body_bytes)


async def _receive_body(request: Request, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > most:
            raise _body_size_error(most, "more")
        parts.append(part)
    return b"".join(parts)


def unpack_gzip(body: bytes, most: int) -> bytes:
    """What was compressed; never more than `most` bytes of it are made.

    Raises:
        ScoringError: 413 where there is more, 400 where it is no whole gzip file.
    """
    found = b""
    try:
        for _ in range(MOST_MEMBERS):  # a gzip file may be several, one after another
            if not body:
                return found
            unpacking = zlib.decompressobj(GZIP_WINDOW)
            found += unpacking.decompress(body, most - len(found) + 1)
            if len(found) > most:
                raise _body_size_error(most, "more, once it is unpacked")
            if not unpacking.eof:
                raise bad_request("the body must be a whole gzip file, but its end is missing")
            body = unpacking.unused_data
    except zlib.error as error:
        raise bad_request(f"the body must be gzip, as Content-Encoding says: {error}") from None
    raise bad_request(f"the body must be one gzip file, or {MOST_MEMBERS} at most, one after another")


def _body_size_error(most: int, found: str) -> ScoringError:
    return ScoringError(413, f"a body must have at most {most} bytes, but got {found}")
