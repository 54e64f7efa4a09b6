"""A place in a bucket of S3, or of what speaks as S3 does: objects below a prefix, by pyarrow."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from infra.errors import StorageUnavailable, WrongInput
from infra.secrets import redact

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem

ATTEMPTS = 8  # of each request, with pauses between that grow to 20 s: about a minute
CONNECT_S = 10.0
PAUSES_S = (0.5, 2.0, 8.0)
PIECE_BYTES = 8 << 20
_ADDRESS = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>[^?#]*))?")
# What boto reads too: pyarrow takes keys and profiles from the environment, but no address.
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_AWAY_DO = (
    f"each request was tried {ATTEMPTS} times: see whether the store is up and can be reached from here"
)
_REFUSED_DO = (
    "renew the credentials of this machine (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN or"
    " ~/.aws), or have them granted the bucket"
)
_REFUSED = re.compile(r"ACCESS_DENIED|403|InvalidAccessKeyId|SignatureDoesNotMatch|Expired|INVALID_", re.I)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """One object: its name relative to what was listed (empty: it was named itself), size and time."""

    name: str
    size_bytes: int
    written_at: float


@dataclass(frozen=True, slots=True)
class Bucket:
    """Objects below `s3://BUCKET/PREFIX`; every refusal is a `StorageUnavailable`.

    Attributes:
        url: without a slash at its end.
    """

    url: str

    @classmethod
    def parse(cls, text: str) -> Bucket:
        """Of an address as people write it.

        Raises:
            WrongInput: no bucket and prefix, or more than that.
        """
        found = _ADDRESS.fullmatch(text)
        prefix = (found["prefix"] or "").strip("/") if found else ""
        parts = prefix.split("/") if prefix else []
        if found is None or any(part in {"", ".", ".."} for part in parts):
            raise WrongInput(
                "a storage in a bucket must be written s3://BUCKET/PREFIX",
                redact(text),
                "keys, region and address of the store come from the environment (AWS_ACCESS_KEY_ID,"
                " AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL) or ~/.aws, as for other tools",
            )
        return cls("/".join(["s3:/", found["bucket"], *parts]))

    def list_objects(self, relative: str) -> list[StoredObject]:
        """Those below a name."""
        from pyarrow.fs import FileSelector

        base = self._key(relative)
        with self._translated_errors(f"list {relative or 'its objects'}"):
            found = self._files.get_file_info(FileSelector(base, allow_not_found=True, recursive=True))
        return [_stored_object(entry, entry.path[len(base) + 1 :]) for entry in found if entry.is_file]

    def find_object(self, relative: str) -> list[StoredObject]:
        """The one of that very name; none where there is none."""
        with self._translated_errors(f"tell of {relative}"):
            found = self._files.get_file_info(self._key(relative))
        return [_stored_object(found, "")] if found.is_file else []

    def upload(self, path: Path, relative: str) -> None:
        """Writes a file as an object, which is there whole afterwards, or as it was before."""
        with (
            path.open("rb") as source,
            self._translated_errors(f"take {relative}"),
            self._files.open_output_stream(self._key(relative)) as out,
        ):
            while piece := source.read(PIECE_BYTES):
                out.write(piece)

    def download(self, relative: str, path: Path) -> None:
        """Reads an object into a file.

        Raises:
            FileNotFoundError: it is gone.
        """
        for pause_s in PAUSES_S:  # pyarrow gives up at the first refusal that is longer than the object
            with suppress(StorageUnavailable):
                return self._download_once(relative, path)
            time.sleep(pause_s)
        return self._download_once(relative, path)

    def _download_once(self, relative: str, path: Path) -> None:
        with (
            path.open("wb") as out,
            self._translated_errors(f"give {relative}", missing=True),
            self._files.open_input_stream(self._key(relative)) as source,
        ):
            while piece := source.read(PIECE_BYTES):
                out.write(piece)

    def delete(self, relative: str) -> None:
        """Removes an object. Gone already is fine."""
        with suppress(FileNotFoundError), self._translated_errors(f"remove {relative}", missing=True):
            self._files.delete_file(self._key(relative))

    def delete_below(self, relative: str) -> None:
        """Removes all below a name. Gone already is fine."""
        with suppress(FileNotFoundError), self._translated_errors(f"remove {relative}", missing=True):
            self._files.delete_dir(self._key(relative))

    def for_ray(self, relative: str) -> tuple[str, FileSystem]:
        """A name below this place as Ray takes it: a path, and what it is a path of."""
        return self._key(relative), self._files

    @property
    def _files(self) -> FileSystem:
        return _open_files(_first_set(*_ENDPOINTS), _first_set("AWS_REGION", "AWS_DEFAULT_REGION"))

    def _key(self, relative: str) -> str:
        return "/".join(part for part in (self.url.removeprefix("s3://"), relative) if part not in {"", "."})

    @contextmanager
    def _translated_errors(self, what: str, *, missing: bool = False) -> Iterator[None]:
        """Args:
        missing: let `FileNotFoundError` through."""
        try:
            yield
        except OSError as error:
            if missing and isinstance(error, FileNotFoundError):
                raise
            text = redact(next(iter(str(error).splitlines()), type(error).__name__))
            raise StorageUnavailable(f"{self.url} must {what}", text[:300], _advise(text)) from error


def _advise(text: str) -> str:
    if "NO_SUCH_BUCKET" in text:
        return "make the bucket, or correct its name"
    return _REFUSED_DO if _REFUSED.search(text) else _AWAY_DO


def _stored_object(found: FileInfo, name: str) -> StoredObject:
    return StoredObject(name=name, size_bytes=found.size, written_at=(found.mtime_ns or 0) / 1e9)


@lru_cache(maxsize=4)
def _open_files(endpoint: str, region: str) -> FileSystem:
    from pyarrow import fs

    scheme, _, host = endpoint.rpartition("://")
    options = {"region": region, "endpoint_override": host, "scheme": scheme}
    return fs.S3FileSystem(
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        connect_timeout=CONNECT_S,
        **{name: value for name, value in options.items() if value},
    )


def _first_set(*names: str, environ: Mapping[str, str] = os.environ) -> str:
    return next((environ[name] for name in names if environ.get(name)), "")
