"""MLflow's client behind one door: every call by explicit ids, every failure sorted into four kinds."""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from infra.errors import Unavailable
from infra.home import Home
from infra.secrets import redact
from infra.tracking.mlflow_environment import set_defaults
from infra.tracking.moved_home import follow_artifacts

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
# What must stand in an entity: a server that is no MLflow can answer `{}`, which reads as a blank one.
_IDENTITY = {
    **dict.fromkeys(("get_registered_model", "create_registered_model"), attrgetter("name")),
    **dict.fromkeys(
        ("get_model_version", "get_model_version_by_alias", "create_model_version"), attrgetter("version")
    ),
    **dict.fromkeys(("get_experiment", "get_experiment_by_name"), attrgetter("experiment_id")),
    **dict.fromkeys(("get_run", "create_run"), attrgetter("info.run_id")),
    **dict.fromkeys(("get_logged_model", "create_logged_model"), attrgetter("model_id")),
}
# What changes nothing when it is asked twice; a run or a model that was to be made is looked for instead.
_REPEATABLE = frozenset(
    {
        "get_run", "get_experiment", "get_experiment_by_name", "get_logged_model", "search_runs",
        "search_logged_models", "log_batch", "log_inputs", "set_terminated", "update_run", "set_tag",
        "set_experiment_tag", "log_artifacts", "log_model_artifacts",
    }
)  # fmt: skip
WHOLE_ANSWER_S = (
    60.0  # what MLFLOW_HTTP_REQUEST_TIMEOUT does not bound: an answer that comes a byte at a time
)
TrackingTrouble = Literal["late", "untrusted", "no MLflow", "unreachable", "failed"]
"""What kind of trouble a call ran into that ended without an HTTP status."""


class TrackingError(Exception):
    """A call to tracking did not do what it should. The text holds no secret."""


class TrackingUnavailable(TrackingError):
    """Not to be reached, broken for now, or answering nonsense: try again later.

    Attributes:
        status: of the HTTP answer; None where there was none. 401 and 403 are a person's to mend.
        trouble: what kind it is, where there is no status.
        method: of MLflow's client, that was called.
    """

    def __init__(
        self, text: str, *, status: int | None = None, trouble: TrackingTrouble = "failed", method: str = ""
    ) -> None:
        self.status, self.trouble, self.method = status, trouble, method
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
        """Calls a method of `MlflowClient`; where a server's connection broke, again if that changes nothing.

        Raises:
            TrackingUnavailable, MissingEntity, RequestRejected: without a cause: MLflow's errors quote URLs.
        """
        try:
            return self._call_once(method, *args, **kwargs)
        except TrackingUnavailable as error:
            if not (self.has_broken(error) and method in _REPEATABLE):
                raise
        return self._call_once(method, *args, **kwargs)

    def has_broken(self, error: TrackingUnavailable) -> bool:
        """Whether it was the connection to a server that failed: the next one may not."""
        return self.remote and error.trouble == "unreachable"

    def _call_once(self, method: str, *args: Any, **kwargs: Any) -> Any:
        try:
            if not self.remote:
                return getattr(self._client, method)(*args, **kwargs)
            ask = partial(getattr(self._client, method), *args, **kwargs)
            # Files take as long as they are large.
            answer = ask() if "artifact" in method else _ask_in_time(ask, _whole_answer_s())
            if answer is not None and method in _IDENTITY and not _IDENTITY[method](answer):
                raise BlankAnswer("an answer that names nothing")
            return answer
        except Exception as error:  # whatever a client library raises, a sweep must not end of it
            raise self._classify_error(error, method) from None

    def _classify_error(self, error: Exception, method: str) -> TrackingError:
        from mlflow.exceptions import MlflowException, RestException

        first_line = _innermost_words(error).partition("\n")[0]
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
        return TrackingUnavailable(text, status=status, trouble=_find_trouble(error), method=method)


class BlankAnswer(ValueError):
    """A server answers with JSON that no MLflow server answers with."""


def _find_trouble(error: Exception) -> TrackingTrouble:
    from requests import exceptions

    chain = _error_chain(error)
    kinds: list[tuple[tuple[type[BaseException], ...], TrackingTrouble]] = [
        ((exceptions.Timeout, TimeoutError), "late"),
        ((exceptions.SSLError,), "untrusted"),
        ((BlankAnswer, exceptions.InvalidURL), "no MLflow"),
        ((exceptions.ConnectionError, exceptions.ChunkedEncodingError, ConnectionError), "unreachable"),
    ]
    text = str(error)
    if "not in a valid JSON format" in text:
        return "no MLflow"
    if re.search(r"time(d )?out", text, re.IGNORECASE):
        return "late"
    return next((kind for types, kind in kinds if any(isinstance(e, types) for e in chain)), "failed")


def _error_chain(error: BaseException) -> list[BaseException]:
    """The error and what it came of, as Python notes it."""
    chain: list[BaseException] = []
    now: BaseException | None = error
    while now is not None and now not in chain:
        chain.append(now)
        now = now.__cause__ or now.__context__
    return chain


def _innermost_words(error: Exception) -> str:
    """What an error says; of a connection that failed the reason alone, without its retries and its URL."""
    text = str(error)
    if found := re.search(r"too many \d{3} error responses|Connection broken: \w+\([^)]*\)", text):
        return found[0]
    found = re.search(r"Caused by \w+\((.*)\)\)$", text)
    return re.sub(r"^[\"']?(HTTPS?Connection(Pool)?\([^)]*\): )?|[\"']$", "", found[1]) if found else text


def _whole_answer_s() -> float:
    """How long an answer may take in all: more where a person lets the server be slow."""
    try:
        return max(WHOLE_ANSWER_S, 4 * float(os.environ.get("MLFLOW_HTTP_REQUEST_TIMEOUT", "0")))
    except ValueError:
        return WHOLE_ANSWER_S


def _ask_in_time(ask: Callable[[], Any], limit_s: float) -> Any:
    """What `ask` gives.

    Raises:
        TimeoutError: it does not end in time; it is left to itself then, in a thread that holds up no exit.
    """
    ended: list[tuple[Any, Exception | None]] = []

    def work() -> None:
        try:
            ended.append((ask(), None))
        except Exception as error:  # of any kind: the caller's thread raises it
            ended.append((None, error))

    thread = threading.Thread(target=work, name="mlflow-call", daemon=True)
    thread.start()
    thread.join(limit_s)
    if not ended:
        raise TimeoutError(f"no whole answer within {limit_s:g} s")
    answer, error = ended[0]
    if error is not None:
        raise error
    return answer


def connect(uri: str) -> TrackingStore:
    """MLflow's client for a tracking URI; for the embedded store `prepare_tracking` comes first."""
    set_defaults()
    from mlflow import MlflowClient

    return TrackingStore(uri, MlflowClient(tracking_uri=uri, registry_uri=uri), embedded_path(uri))


Connect = Callable[[str], TrackingStore]


def prepare_tracking(uri: str, home: Home) -> None:
    """Makes the embedded store, whole and in WAL mode, before anything else opens it; that of a home which
    was moved names the artifacts beside it again.

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
            closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as raw,
        ):
            with closing(raw.execute("PRAGMA journal_mode=WAL")):
                pass
            fresh = not raw.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if fresh:
                connect(uri).call("get_experiment", "0")
            elif path.parent == home.path:
                follow_artifacts(raw, home.artifacts)
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


def is_unused(uri: str) -> bool:
    """Whether the store is embedded, and nothing was ever tracked in it."""
    path = embedded_path(uri)
    return path is not None and not path.exists()


@contextmanager
def _lock_file(path: Path) -> Iterator[None]:
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
