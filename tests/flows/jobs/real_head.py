"""A head of a Ray cluster with its job server, as people start one: own ports, token and folder."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.driver.local_ray import free_ports

ROOT = Path(__file__).resolve().parents[3]
PROGRAMS = Path(sys.executable).parent
START_LIMIT_S = 120
END_LIMIT_S = 30
PORTS = (
    "port", "dashboard-port", "node-manager-port", "object-manager-port", "dashboard-agent-listen-port",
    "metrics-export-port", "runtime-env-agent-port", "dashboard-agent-grpc-port", "ray-client-server-port",
)  # fmt: skip


@dataclass(frozen=True)
class RealHead:
    """One that runs.

    Attributes:
        address: of its job server.
        session: the folder of its logs and of what travelled.
        environ: for commands of somebody who has the token.
    """

    address: str
    session: Path
    environ: Mapping[str, str]


@contextmanager
def run_head(folder: Path, more: Mapping[str, str]) -> Iterator[RealHead]:
    """A head with two processors for as long as the block lasts.

    Args:
        folder: for its home, its token and its log.
        more: of its environment alone, which jobs have.
    """
    (folder / "home").mkdir()
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("VELODROME", "MLFLOW"))},
        "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
        "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_USAGE_STATS_ENABLED": "0",
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    ports = dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))
    session = Path(tempfile.mkdtemp(prefix="velodrome-t-"))  # short: a socket's path is
    words = [f"--{name}={port}" for name, port in ports.items()]
    words += ["--head", "--num-cpus=2", "--include-dashboard=true", f"--temp-dir={session}", "--block"]
    with (folder / "head.log").open("w") as log:
        head = subprocess.Popen(
            ["ray", "start", *words], env={**environ, **more, "HOME": str(folder / "home")}, cwd=folder,
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    address = f"http://127.0.0.1:{ports['dashboard-port']}"
    try:
        _await_head(address, environ, head, folder / "head.log")
        yield RealHead(address, session, environ)
    finally:
        _end_session(head)
        shutil.rmtree(session, ignore_errors=True)


def _await_head(address: str, environ: Mapping[str, str], head: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    words = ["ray", "job", "list", "--address", address]
    while subprocess.run(words, env=dict(environ), capture_output=True, timeout=600).returncode:
        assert head.poll() is None, log.read_text()[-3_000:]
        assert time.monotonic() < deadline, log.read_text()[-3_000:]
        time.sleep(1)


def _end_session(head: subprocess.Popen[bytes]) -> None:
    """Its own processes alone: all are of the session that it began."""
    os.killpg(head.pid, signal.SIGTERM)
    try:
        head.wait(END_LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(head.pid, signal.SIGKILL)
        head.wait(END_LIMIT_S)
