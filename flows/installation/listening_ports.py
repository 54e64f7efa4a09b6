"""Which of this user's Ray, MLflow and Velodrome processes listen, and where."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.addresses import is_loopback

RAY_PROGRAMS = ("raylet", "gcs_server", "ray::", "ray-dashboard")
PYTHON_PROGRAMS = ("mlflow", "velodrome", "flows.cli")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class ListeningPort:
    """One open port."""

    program: str
    port: int
    address: str
    pid: int

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.address)


def own_listening_ports() -> list[ListeningPort]:
    """Open ports of this user's processes that a sweep or the UI started."""
    return sorted(set(_scan_ports()))


def _scan_ports() -> Iterator[ListeningPort]:
    import psutil

    uid = os.getuid()
    for process in psutil.process_iter():
        try:
            if process.uids().real != uid:
                continue
            program = program_of(process.name(), process.cmdline())
            if program is None:
                continue
            for connection in process.net_connections(kind="inet"):
                if connection.status == psutil.CONN_LISTEN:
                    yield ListeningPort(
                        program=program,
                        port=connection.laddr.port,
                        address=connection.laddr.ip,
                        pid=process.pid,
                    )
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue


def program_of(name: str, command: Sequence[str]) -> str | None:
    """Which of the programs that Velodrome starts a process is; None for any other.

    Args:
        name: the process's own name, which Ray's workers set themselves.
        command: its arguments.
    """
    if name.startswith(RAY_PROGRAMS):
        return name.partition(":")[0] if name.startswith("ray::") else name
    words = [Path(word).name for word in command[:4]]
    joined = " ".join(command)
    for known in PYTHON_PROGRAMS:
        if known in words or f"{known}.server" in joined:
            return known
    if "/site-packages/ray/" in joined and len(command) > 1:
        script = next((Path(word).stem for word in command[1:] if word.endswith(".py")), "process")
        return f"ray {script}"
    return None
