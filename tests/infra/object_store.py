"""What speaks as S3 does, in this process: objects in memory, and faults on request."""

from __future__ import annotations

import hashlib
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape, unescape

import pytest

from infra.bucket import _open_files

BUCKET = "models"


@dataclass(slots=True)
class ObjectStore:
    """A store's objects by `BUCKET/KEY`: content and time of writing.

    Attributes:
        fault: of a method and a path: an HTTP status and an error's code to answer with, or None.
        requests: methods and paths, in the order in which they came.
    """

    objects: dict[str, tuple[bytes, float]] = field(default_factory=dict)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    fault: Callable[[str, str], tuple[int, str] | None] = lambda method, path: None
    requests: list[tuple[str, str]] = field(default_factory=list)
    now: Callable[[], float] = time.time

    def names(self, prefix: str = "") -> list[str]:
        """The keys below `BUCKET/prefix`, in order; without the empty ones that stand for folders."""
        found = (name for name in self.objects if name.startswith(f"{BUCKET}/{prefix}"))
        return sorted(name for name in found if not name.endswith("/"))


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    store: ObjectStore

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: tests show what matters."""

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        if body.startswith(b"<"):
            self.send_header("Content-Type", "application/xml")
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        if "Content_Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _begin(self) -> tuple[str, dict[str, list[str]], bytes] | None:
        """Path, query and body; None where a fault has answered."""
        parts = urlsplit(self.path)
        path = unquote(parts.path).removeprefix("/")
        body = self._read_body()
        self.store.requests.append((self.command, path))
        fault = self.store.fault(self.command, path)
        if fault is not None:
            self._answer(fault[0], _xml("Error", f"<Code>{fault[1]}</Code><Message>{fault[1]}</Message>"))
            return None
        return path, parse_qs(parts.query, keep_blank_values=True), body

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            raw = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                raw += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return _unwrap(raw) if "aws-chunked" in (self.headers.get("Content-Encoding") or "") else raw

    def do_PUT(self) -> None:
        if (asked := self._begin()) is None:
            return
        path, query, body = asked
        if "uploadId" in query:
            self.store.parts[query["uploadId"][0]][int(query["partNumber"][0])] = body
        else:
            self.store.objects[path] = (body, self.store.now())
        self._answer(200, ETag=f'"{hashlib.md5(body).hexdigest()}"')

    def do_POST(self) -> None:
        if (asked := self._begin()) is None:
            return
        path, query, body = asked
        if "uploads" in query:
            upload = uuid.uuid4().hex
            self.store.parts[upload] = {}
            self._answer(200, _xml("InitiateMultipartUploadResult", f"<UploadId>{upload}</UploadId>"))
        elif "delete" in query:
            for key in re.findall("<Key>(.*?)</Key>", body.decode()):
                self.store.objects.pop(f"{path}/{unescape(key)}", None)
            self._answer(200, _xml("DeleteResult", ""))
        elif "uploadId" in query:
            parts = self.store.parts.pop(query["uploadId"][0])
            content = b"".join(parts[number] for number in sorted(parts))
            self.store.objects[path] = (content, self.store.now())
            self._answer(200, _xml("CompleteMultipartUploadResult", "<ETag>x</ETag>"))
        else:
            raise AssertionError(self.path)

    def do_DELETE(self) -> None:
        if (asked := self._begin()) is None:
            return
        self.store.objects.pop(asked[0], None)
        self._answer(204)

    def do_HEAD(self) -> None:
        if (asked := self._begin()) is None:
            return
        path, _, _ = asked
        if path == BUCKET:
            self._answer(200)
        elif path in self.store.objects:
            self._answer(200, **self._describe(path), Content_Length=str(len(self.store.objects[path][0])))
        else:
            self._answer(404)

    def do_GET(self) -> None:
        if (asked := self._begin()) is None:
            return
        path, query, _ = asked
        if "list-type" in query:
            self._list(path, query)
        elif path in self.store.objects:
            content = self.store.objects[path][0]
            span = (self.headers.get("Range") or "").removeprefix("bytes=")
            first, _, last = span.partition("-")
            cut = content[int(first or 0) : int(last) + 1 if last else None]
            self._answer(206 if span else 200, cut, **self._describe(path))
        else:
            self._answer(404, _xml("Error", "<Code>NoSuchKey</Code>"))

    def _describe(self, path: str) -> dict[str, str]:
        return {"Last_Modified": formatdate(self.store.objects[path][1], usegmt=True), "ETag": '"x"'}

    def _list(self, bucket: str, query: dict[str, list[str]]) -> None:
        prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
        shown, folders = "", set()
        for name in self.store.names(prefix):
            key = name.removeprefix(f"{bucket}/")
            rest = key[len(prefix) :]
            if delimiter and delimiter in rest:
                folders.add(prefix + rest.split(delimiter)[0] + delimiter)
                continue
            content, written_at = self.store.objects[name]
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(written_at))
            shown += (
                f"<Contents><Key>{escape(key)}</Key><LastModified>{stamp}</LastModified>"
                f"<Size>{len(content)}</Size></Contents>"
            )
        for folder in sorted(folders):
            shown += f"<CommonPrefixes><Prefix>{escape(folder)}</Prefix></CommonPrefixes>"
        self._answer(200, _xml("ListBucketResult", f"<IsTruncated>false</IsTruncated>{shown}"))


def _xml(name: str, inner: str) -> bytes:
    return f'<{name} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}</{name}>'.encode()


def _unwrap(raw: bytes) -> bytes:
    """The content of a body that the client signed piece by piece."""
    content = b""
    while raw:
        head, _, raw = raw.partition(b"\r\n")
        size = int(head.split(b";")[0], 16)
        if not size:
            break
        content, raw = content + raw[:size], raw[size + 2 :]
    return content


@contextmanager
def running_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """A store on loopback that the environment names, as it would name MinIO's."""
    store = ObjectStore()
    handler = type("Handler", (_Handler,), {"store": store})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    for name, value in (("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b"), ("AWS_REGION", "eu-1")):
        monkeypatch.setenv(name, value)
    try:
        yield store
    finally:
        _open_files.cache_clear()
        server.shutdown()
        server.server_close()
        thread.join()
