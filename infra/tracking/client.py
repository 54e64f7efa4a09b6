"""MLflow's client behind one door: every call by explicit ids, every failure sorted into four kinds."""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.errors import Unavailable
from infra.home import Home
from infra.secrets import redact
from infra.tracking.mlflow_environment import set_defaults

if TYPE_CHECKING:
    from mlflow import MlflowClient

_REFUSED = {
    "INVALID_PARAMETER_VALUE",
    "RESOURCE_ALREADY_EXISTS",
    "BAD_REQUEST",
    "MALFORMED_REQUEST",
    "INVALID_STATE",
}


# MLflow's words for an answer without JSON, and for one that it would have asked for again.
_STATUS = re.compile(r"failed with error code (\d{3}) != 200|too many (\d{3}) error responses")


class TrackingError(Exception):
    """A call to tracking did not do what it should. The text holds no secret."""


class TrackingUnavailable(TrackingError):
    """Not to be reached, broken for now, or answering nonsense: try again later.

    Attributes:
        status: of the HTTP answer; None where there was none. 401 and 403 are a person's to mend.
        timed_out: whether no answer came in time.
    """

    def __init__(self, text: str, *, status: int | None = None, timed_out: bool = False) -> None:
        self.status, self.timed_out = status, timed_out
        super().__init__(text)


class MissingEntity(TrackingError):
    """The run, model or experiment is not there."""


class RequestRejected(TrackingError):
    """Tracking is there and does not take this request: trying again will not help."""


class TrackingStore:
    """A tracking store. `client` is MLflow's, or anything with the same methods in a test; `file` is the
    SQLite file that it opens, where it is one."""

    def __init__(self, uri: str, client: MlflowClient, file: Path | None = None) -> None:
        self.uri, self.file = uri, file
        self._client = client

    @property
    def remote(self) -> bool:
        """Whether a server stands between us and the store."""
        return self.uri.startswith(("http://", "https://"))

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Calls a method of `MlflowClient`.

        Raises:
            TrackingUnavailable, MissingEntity, RequestRejected: without a cause: MLflow's errors quote URLs.
        """
        try:
            return getattr(self._client, method)(*args, **kwargs)
        except Exception as error:  # whatever a client library raises, a sweep must not end of it
            raise self._classify_error(error, method) from None

    def _classify_error(self, error: Exception, method: str) -> TrackingError:
        from mlflow.exceptions import MlflowException, RestException

        first_line = str(error).partition("\n")[0]
        text = redact(f"{method}: {type(error).__name__}: {first_line}")[:500]
        # An error page of a proxy is no word of MLflow's, even when its status is 404.
        trusted = isinstance(error, RestException) or not self.remote
        if isinstance(error, MlflowException) and trusted:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return MissingEntity(text)
            if error.error_code in _REFUSED:
                return RequestRejected(text)
        said = _STATUS.search(str(error))
        status = said and int(said[1] or said[2])
        if isinstance(error, RestException):
            status = error.get_http_status_code()  # type: ignore[no-untyped-call]  # MLflow's own
        late = status is None and re.search(r"time(d )?out", str(error), re.IGNORECASE) is not None
        return TrackingUnavailable(text, status=status, timed_out=late)


def connect(uri: str) -> TrackingStore:
    """MLflow's client for a tracking URI; for the embedded store `prepare_tracking` comes first."""
    set_defaults()
    from mlflow import MlflowClient

    return TrackingStore(uri, MlflowClient(tracking_uri=uri, registry_uri=uri), embedded_path(uri))


Connect = Callable[[str], TrackingStore]


def prepare_tracking(uri: str, home: Home) -> None:
    """Makes the embedded store, whole and in WAL mode, before anything else opens it.

    Two processes that open a new file at once break each other's migrations in MLflow, hence the lock.

    Raises:
        Unavailable: the store's file cannot be made or read.
    """
    set_defaults()
    path = embedded_path(uri)
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        home.artifacts.mkdir(parents=True, exist_ok=True)
        with (
            _lock_file(path.with_name(path.name + ".lock")),
            closing(sqlite3.connect(path, timeout=60)) as raw,
        ):
            with closing(raw.execute("PRAGMA journal_mode=WAL")):
                pass
            fresh = not raw.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if fresh:
                connect(uri).call("get_experiment", "0")
    except (OSError, sqlite3.Error, TrackingError) as error:
        raise Unavailable(
            "the tracking store must be readable and writable",
            f"{path}: {error}",
            "check the folder, or move the file away to start an empty one",
        ) from error


def embedded_path(uri: str) -> Path | None:
    """The file of an embedded store, or None for a server or another database."""
    found = re.fullmatch(r"sqlite:///(.+)", uri)
    return Path(found.group(1).partition("?")[0]).absolute() if found else None


@contextmanager
def _lock_file(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
