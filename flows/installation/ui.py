"""`velodrome ui`: MLflow's own server on the right store, on loopback, until Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.request import urlopen

from flows.config.lookup import open_sweep
from infra.addresses import bracket_ipv6, is_loopback
from infra.errors import Unavailable, WrongInput
from infra.home import Home, tracking_uri
from infra.names import quote_input
from infra.spec import SweepSpec

if TYPE_CHECKING:
    from mlflow.entities import Experiment

START_LIMIT_S = 60.0
END_LIMIT_S = 10.0
ENVIRONMENT = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight more processes and 1.9 GB, for nothing we use
    "MLFLOW_ENABLE_AI_GATEWAY": "false",
}


def ui(
    name: str | None = None,
    *,
    port: int = 5000,
    host: str = "127.0.0.1",
    home: Home | None = None,
    say: Callable[[str], None] = print,
) -> None:
    """Serves MLflow's UI until it is interrupted. A store that is a server already is only named.

    Args:
        name: a sweep's name or file, whose store and experiment are shown; by default the embedded store.
        host: loopback only: MLflow's server as it is started here asks nobody for a token.

    Raises:
        WrongInput: a host that is not loopback, or a port in use.
        Unavailable: the server does not come up.
    """
    check_loopback(host)
    place = home or Home.from_environment()
    uri, spec = _store(name, place)
    if uri.startswith(("http://", "https://")):
        from infra.secrets import redact

        say(f"MLflow runs at {redact(uri)}")
        return
    _check_port(host, port)
    from infra.tracking.client import prepare_tracking

    prepare_tracking(uri, place)
    server = _start_server(uri, place, host, port)
    try:
        page = _trials_path(uri, spec)
        _wait_until_up(server, host, port, place)
        say(f"http://{bracket_ipv6(host)}:{port}{page}   (Ctrl-C ends it)")
        server.wait()
    except KeyboardInterrupt:  # how a person ends it: nothing went wrong
        say("the UI has ended")
    finally:
        end_server(server)


def check_loopback(host: str) -> None:
    """Refuses an address that others can reach."""
    if not is_loopback(host):
        raise WrongInput(
            "the UI must listen on loopback, for MLflow's server asks nobody for a token",
            f"--host {quote_input(host)}",
            "leave --host out and use `ssh -L 5000:127.0.0.1:5000`, or `mlflow server --app-name basic-auth`",
        )


def end_server(server: subprocess.Popen[bytes]) -> None:
    """Ends the server with all its workers, at the latest after a limit."""
    _signal_group(server.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        server.wait(END_LIMIT_S)
    _signal_group(server.pid, signal.SIGKILL)  # whoever of the group is still there
    server.wait(END_LIMIT_S)


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def _store(name: str | None, home: Home) -> tuple[str, SweepSpec | None]:
    if name is None:
        return tracking_uri(home, SweepSpec(name="none")), None
    ledger, row = open_sweep(name, home)
    ledger.close()
    return tracking_uri(home, row.spec), row.spec


def _check_port(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise WrongInput(
                "the UI's port must be free", f"{port}: {error.strerror}", "choose another with --port"
            ) from error


def _start_server(uri: str, home: Home, host: str, port: int) -> subprocess.Popen[bytes]:
    from infra.tracking.mlflow_environment import set_defaults

    environment = {**os.environ, **ENVIRONMENT}
    set_defaults(environment)
    home.logs.mkdir(parents=True, exist_ok=True)
    command = [
        sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri,
        "--artifacts-destination", home.artifacts.as_uri(), "--host", host, "--port", str(port),
        "--workers", "1", "--app-name", "velodrome",
    ]  # fmt: skip
    with _log_path(home).open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)


def _log_path(home: Home) -> Path:
    return home.logs / "ui.log"


def _wait_until_up(server: subprocess.Popen[bytes], host: str, port: int, home: Home) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise Unavailable(
                "MLflow's server must start",
                f"it ended with status {server.returncode}",
                log=str(_log_path(home)),
            )
        try:
            with urlopen(f"http://{bracket_ipv6(host)}:{port}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise Unavailable(
        "MLflow's server must answer", f"nothing for {START_LIMIT_S:g} s", log=str(_log_path(home))
    )


def _trials_path(uri: str, spec: SweepSpec | None) -> str:
    """The page with all trials of the sweep, best first and with their charts, where it is known.

    An experiment's plain address opens MLflow's pages for language models, whatever its tags say.
    """
    if spec is None:
        return ""
    from infra.tracking.client import TrackingError, connect

    try:
        found = connect(uri).call("get_experiment_by_name", spec.experiment or spec.label)
    except TrackingError:
        return ""
    return trials_page(found, spec) if found is not None else ""


def trials_page(experiment: Experiment, spec: SweepSpec) -> str:
    """The objective's curves beside the trials, best first."""
    from infra.tracking.description import trials_link
    from infra.tracking.shared_view import TAG, view_key

    view = view_key(spec)
    known = f"{TAG}{view}" in experiment.tags  # a sweep of an earlier version has none
    return "/" + trials_link(experiment.experiment_id, view if known else None)
