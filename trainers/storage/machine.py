"""Which machine a process is on: whether a pid is one of this machine's."""

from __future__ import annotations

import hashlib
import socket
from functools import cache
from pathlib import Path


@cache
def machine_id() -> str:
    """A name for the table that this process's pid stands in: of this machine since it started, and of this
    container. Hosts may have one name, where machines were cloned, and a name may change."""
    table = Path("/proc/self/ns/pid").stat().st_ino
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    except OSError:  # a sandbox
        boot = socket.gethostname()
    return hashlib.sha256(f"{boot.strip()} {table}".encode()).hexdigest()[:12]


def is_on_this_machine(machine: str, host: str) -> bool:
    """Whether a pid of there is a pid of here.

    Args:
        machine: its `machine_id`; empty where it was not written down: the host's name decides.
    """
    return machine == machine_id() if machine else host == socket.gethostname()
