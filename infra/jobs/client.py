"""Ray's job server: jobs are given to it, found, followed and asked for, each call with a limit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import requests
from ray._private.runtime_env.packaging import GCS_STORAGE_MAX_SIZE
from ray.dashboard.modules.job.sdk import JobSubmissionClient
from ray.exceptions import AuthenticationError

from infra.errors import ClusterUnavailable, WrongInput
from infra.secrets import redact

if TYPE_CHECKING:
    from ray.dashboard.modules.job.pydantic_models import JobDetails

REQUEST_LIMIT_S = 60.0  # for each answer, and each piece of a folder that travels
LOOK_EVERY_S = 2.0
LAST_LINES_S = 10.0
AWAY_LIMIT_S = 300.0
# A sweep writes its checkpoints when it is stopped; by itself Ray kills a job 3 s after it asked it to end.
STOP_WAIT = {"RAY_JOB_STOP_WAIT_TIME_S": "60"}
# By these Ray takes another address than the one that it is given.
_ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
_CHATTY = ("dashboard.modules.job.sdk", "dashboard.modules.dashboard_sdk", "_private.runtime_env.packaging")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """How a job stands.

    Attributes:
        status: `PENDING`, `RUNNING`, `SUCCEEDED`, `FAILED` or `STOPPED`.
        exit_code: of its command, where that has ended.
    """

    status: str
    message: str = ""
    exit_code: int | None = None

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in {"SUCCEEDED", "FAILED", "STOPPED"}


class _LimitedClient(JobSubmissionClient):
    """Ray's own client waits for an answer without end, and sends a folder that Ray then does not take."""

    def _do_request(self, method: str, endpoint: str, **options: Any) -> requests.Response:
        size = len(options.get("data") or b"")
        if size >= GCS_STORAGE_MAX_SIZE:
            most = GCS_STORAGE_MAX_SIZE >> 20
            raise ValueError(f"{size >> 20} MiB when zipped, and Ray takes less than {most} MiB")
        return super()._do_request(method, endpoint, timeout=REQUEST_LIMIT_S, **options)


class JobServer:
    """One cluster's job server."""

    def __init__(self, address: str) -> None:
        """Asks it who it is.

        Raises:
            ClusterUnavailable: nobody answers there, or it asks for a token.
        """
        self.address = address
        for name in _CHATTY:
            logging.getLogger(f"ray.{name}").setLevel(logging.WARNING)
        with self._translate_errors(), _without(_ADDRESSES):
            self._client = _LimitedClient(address)

    def upload(self, folder: Path, excludes: Sequence[str]) -> str:
        """Sends what the folder holds, unless the cluster has just that; gives the name that it has there."""
        environment: dict[str, Any] = {"working_dir": str(folder), "excludes": list(excludes)}
        try:
            with self._translate_errors():
                self._client._upload_working_dir_if_needed(environment)
        except ValueError as error:
            raise WrongInput(
                f"{folder}, which travels, must be small enough for Ray",
                str(error),
                "name large files in .rayignore, and keep data where all nodes find it by an absolute path",
            ) from error
        return str(environment["working_dir"])

    def submit(self, entrypoint: str, folder: str, *, job: str, metadata: Mapping[str, str]) -> str:
        """Starts a command as a job of that name, in a folder that was uploaded."""
        with self._translate_errors():
            return self._client.submit_job(
                entrypoint=entrypoint,
                submission_id=job,
                runtime_env={"working_dir": folder, "env_vars": STOP_WAIT},
                metadata=dict(metadata),
            )

    def find_running(self, entrypoint: str, folder: str) -> str | None:
        """A job that waits or runs with the same command in the same folder."""
        with self._translate_errors():
            for known in self._client.list_jobs():
                same = known.entrypoint == entrypoint and _folder_of(known) == folder
                if same and known.submission_id and not _state_of(known).has_ended:
                    return known.submission_id
        return None

    def state(self, job: str) -> JobState:
        """How it stands now."""
        with self._translate_errors():
            return _state_of(self._client.get_job_info(job))

    def follow(self, job: str, show: Callable[[str], object]) -> JobState:
        """Shows what the job prints from its beginning on, until it ends.

        Raises:
            ClusterUnavailable: the cluster has been away for too long; the job may go on.
        """
        return asyncio.run(_Follower(self, job, show).follow())

    async def tail(self, job: str, show: Callable[[str], object]) -> None:
        """Shows what a job printed and prints, for as long as the connection lasts."""
        with self._translate_errors():
            async for piece in self._client.tail_job_logs(job):
                show(piece)

    @contextlib.contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except AuthenticationError as error:
            raise ClusterUnavailable(
                f"the job server at {self.address} must take this machine's token",
                redact(str(error).splitlines()[0]),
                "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to a file with the cluster's token",
            ) from error
        # `requests` raises kinds of OSError; a server of another kind lacks what Ray's client looks up
        except (OSError, RuntimeError, LookupError, aiohttp.ClientError) as error:
            raise ClusterUnavailable(
                f"a Ray job server must answer at {self.address}",
                _describe_error(error),
                "is it the head's dashboard (`ray start --head --dashboard-host=…`, port 8265), with"
                " ray[default] installed there?",
            ) from error


class _Follower:
    def __init__(self, server: JobServer, job: str, show: Callable[[str], object]) -> None:
        self._server, self._job, self._show = server, job, show
        self._shown = self._seen = 0
        self._away_s = 0.0

    async def follow(self) -> JobState:
        """How the job ended; until then what it prints is shown, whatever becomes of the line to it."""
        tail = self._start_tail()
        try:
            while True:
                state = await self._state()
                if state is not None and state.has_ended:
                    with contextlib.suppress(TimeoutError, ClusterUnavailable):
                        await asyncio.wait_for(tail, LAST_LINES_S)
                    return state
                await asyncio.wait([tail], timeout=LOOK_EVERY_S)
                if tail.done():
                    with contextlib.suppress(
                        ClusterUnavailable
                    ):  # of the connection: its state is asked next
                        tail.result()
                    await asyncio.sleep(LOOK_EVERY_S)
                    tail = self._start_tail()
        finally:
            tail.cancel()

    async def _state(self) -> JobState | None:
        """None where the cluster does not answer just now."""
        try:
            state = await asyncio.to_thread(self._server.state, self._job)
        except ClusterUnavailable as error:
            self._away_s += LOOK_EVERY_S
            if self._away_s > AWAY_LIMIT_S:
                raise ClusterUnavailable(
                    f"the job server must answer again within {AWAY_LIMIT_S:.0f} s",
                    error.found,
                    "the job may go on: the same command follows it again",
                ) from error
            return None
        self._away_s = 0.0
        return state

    def _start_tail(self) -> asyncio.Task[None]:
        self._seen = 0
        return asyncio.create_task(self._server.tail(self._job, self._show_new))

    def _show_new(self, text: str) -> None:
        """Each connection begins with the log's beginning: what was shown is left out."""
        new = text[max(0, self._shown - self._seen) :]
        self._seen += len(text)
        if new:
            self._shown = self._seen
            self._show(new)


def _describe_error(error: Exception) -> str:
    """Its first line, and the last where the server sent a traceback."""
    first, *rest = str(error).strip().splitlines() or [type(error).__name__]
    return redact(" … ".join([first, *rest[-1:]]))


def _state_of(details: JobDetails) -> JobState:
    return JobState(
        status=str(details.status.value), message=details.message or "", exit_code=details.driver_exit_code
    )


def _folder_of(details: JobDetails) -> str | None:
    folder = (details.runtime_env or {}).get("working_dir")
    return folder if isinstance(folder, str) else None


@contextlib.contextmanager
def _without(names: Sequence[str]) -> Iterator[None]:
    held = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(held)
