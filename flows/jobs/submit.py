"""`velodrome submit`: runs a sweep as a job of a cluster, which needs this machine no longer."""

from __future__ import annotations

import os
import secrets
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flows.config.loading import load_sweep
from flows.config.resolving import resolve_families
from flows.jobs.package import Package, pack_sweep
from flows.sweeps.new import find_sweep_file
from flows.terminal.json_results import PlainResult
from infra.errors import ClusterUnavailable, InterruptedCommand, WrongInput
from infra.home import Home
from infra.secrets import holds_secret, redact

if TYPE_CHECKING:
    from infra.jobs.client import JobServer, JobState

NOT_FOUND = 127  # a shell's status for a command that it does not know
STOPPED = 143
_ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
_STAYS = ("VELODROME_LEDGER", "VELODROME_STORAGE", "MLFLOW_TRACKING_URI")


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission(PlainResult):
    """A sweep's job.

    Attributes:
        job: its submission id.
        state: `submitted` where it was not followed, else how it ended: `succeeded`, `failed`, `stopped`.
        exit_code: of `velodrome sweep` there; None where it was not followed.
        joined: whether the job ran already, and was followed only.
        follow, stop: commands that do that.
    """

    sweep: str
    job: str
    address: str
    state: str
    exit_code: int | None
    joined: bool
    command: str
    follow: str
    stop: str


def submit(
    file: Path | str,
    *,
    overrides: Sequence[str] = (),
    address: str | None = None,
    new: bool = False,
    accept_code_change: bool = False,
    follow: bool = True,
    show: Callable[[str], object] = sys.stdout.write,
    say: Callable[[str], object] = lambda line: print(line, file=sys.stderr, flush=True),
) -> Submission:
    """Submits `velodrome sweep FILE` as a job and follows what it prints until it ends.

    The same submission again follows the job that runs, or carries the sweep on where it stopped.

    Args:
        file: the sweep file; or an Optuna objective, `module:function`.
        overrides: `search.pruner=none` and the like, over the file's keys.
        address: of the cluster's job server, `http://HEAD:8265`; by default `RAY_API_SERVER_ADDRESS` or
            `RAY_ADDRESS`.
        new, accept_code_change: as `sweep` takes them.
        follow: whether to wait for its end.
        show: gets what the job prints.
        say: gets what is said about the job.

    Raises:
        WrongInput: the file cannot be used, or a secret would travel.
        ClusterUnavailable: the job server does not answer or refuses the job.
        InterruptedCommand: Ctrl-C; the job goes on.
    """
    place = server_address(address)
    path = find_sweep_file(file)
    _refuse_secret_overrides(overrides)
    sweep = load_sweep(path, overrides)
    resolve_families(sweep)
    words = [*(word for written in overrides for word in ("--set", written))]
    words += ["--new"] * new + ["--accept-code-change"] * accept_code_change
    for line in _environment_notes(os.environ):
        say(line)
    with pack_sweep(sweep, Home.from_environment()) as package:
        from infra.jobs.client import JobServer

        server = JobServer(place)
        command = shlex.join(["velodrome", "sweep", package.file, *words])
        job, joined = _start_job(server, package, command, sweep.name)
    here = shlex.join(["velodrome", "submit", str(file), *words, "--address", place])
    submission = Submission(
        sweep=sweep.name, job=job, address=place, state="submitted", exit_code=None, joined=joined,
        command=command, follow=here, stop=shlex.join(["ray", "job", "stop", job, "--address", place]),
    )  # fmt: skip
    _tell_start(submission, package, say)
    return _follow(server, submission, show) if follow else submission


def server_address(written: str | None, environ: Mapping[str, str] = os.environ) -> str:
    """The job server's address."""
    given = written or next((environ[name] for name in _ADDRESSES if environ.get(name)), None)
    do = "--address http://HEAD:8265, the port of the head's dashboard"
    if given is None:
        raise WrongInput("the address of a cluster's job server must be given", "none", do)
    try:
        parts = urlsplit(given)
        port = parts.port
    except ValueError:
        raise WrongInput("an address must be one of HTTP", redact(repr(given)), do) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/") or parts.query:
        raise WrongInput("an address must be one of HTTP", redact(repr(given)), do)
    if parts.username or parts.password:
        do = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to a file with the cluster's token"
        raise WrongInput("an address must hold no password: others see it", redact(repr(given)), do)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{port}" if port else "")


def _refuse_secret_overrides(overrides: Sequence[str]) -> None:
    for written in overrides:
        key, _, value = written.partition("=")
        if holds_secret(value):
            raise WrongInput(
                f"--set {key} must hold no secret: a job's command stands in the cluster's dashboard",
                "one is written there",
                "write ${NAME} in its place, and set NAME, or NAME_FILE with the path of a file, in the"
                " environment of the cluster's nodes",
            )


def _environment_notes(environ: Mapping[str, str]) -> list[str]:
    names = [name for name in _STAYS if environ.get(name)]
    if not names:
        return []
    return [
        f"{', '.join(names)} of this machine stays here: the job has the environment of the cluster's head"
    ]


def _start_job(server: JobServer, package: Package, command: str, name: str) -> tuple[str, bool]:
    """The job's id, and whether it ran already."""
    folder = server.upload(package.folder, package.excludes)
    running = server.find_running(command, folder)
    if running is not None:
        return running, True
    job = f"{name}-{secrets.token_hex(4)}"
    return server.submit(command, folder, job=job, metadata={"velodrome_sweep": name}), False


def _tell_start(submission: Submission, package: Package, say: Callable[[str], object]) -> None:
    what = "runs already as" if submission.joined else "is"
    travelled = ", ".join(package.names) or f"{package.folder} without what .gitignore and .rayignore name"
    say(
        f"{submission.sweep} {what} job {submission.job} on {submission.address}, without this machine\n"
        f"  travelled:     {travelled}\n"
        f"  follow again:  {submission.follow}\n"
        f"  stop it:       {submission.stop}"
    )


def _follow(server: JobServer, submission: Submission, show: Callable[[str], object]) -> Submission:
    try:
        ended = server.follow(submission.job, show)
    except KeyboardInterrupt:
        raise InterruptedCommand(
            f"job {submission.job} is followed until it ends",
            "Ctrl-C; the job goes on",
            f"`{submission.follow}` follows it again\n`{submission.stop}` stops it",
        ) from None
    if ended.exit_code == NOT_FOUND:
        raise ClusterUnavailable(
            "the cluster's head must have the command velodrome",
            ended.message,
            "install Velodrome where Ray is installed, and start Ray with that folder on PATH",
        )
    return _with_exit_status(submission, ended)


def _with_exit_status(submission: Submission, state: JobState) -> Submission:
    code = state.exit_code
    if state.status == "STOPPED":
        code = STOPPED
    elif code is None:
        code = 0 if state.status == "SUCCEEDED" else 4
        if state.status == "FAILED":
            raise ClusterUnavailable(
                f"job {submission.job} must start on the cluster",
                redact(state.message.strip()) or "no word of Ray's",
                f"`ray job logs {submission.job} --address {submission.address}` tells more",
            )
    return Submission(**{**asdict(submission), "state": state.status.lower(), "exit_code": code})
