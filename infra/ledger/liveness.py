"""Whether a sweep's owner still lives: decided on facts, so that a dead driver never blocks the next one."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Callable
from pathlib import Path

from infra.ledger.rows import OwnerRow

EXPIRY_S = 60.0


def is_owner_alive(
    owner: OwnerRow,
    *,
    here: str,
    process_started_at: Callable[[int], float | None],
    expiry_s: float = EXPIRY_S,
) -> bool:
    """Whether the owner's process must be taken for living.

    On this host the process table decides, whatever the heartbeat says: a driver that is stopped or starved
    is still there. A pid that started at another time is another process. Elsewhere the heartbeat decides.

    Args:
        here: this host's name, as `describe_this_process` gives it.
        process_started_at: when the process of that pid started, as `process_started_at` below tells it;
            None where there is none.
        expiry_s: how long a heartbeat from another host counts.
    """
    if not owner.token:
        return False
    if owner.host == here:
        return process_started_at(owner.pid) == owner.pid_started_at
    return owner.silent_s < expiry_s


def process_started_at(pid: int) -> float | None:
    """When the process started, in seconds since this machine did; None where there is none, or its zombie.

    A pid and its start name a process for as long as the machine runs. Counted from boot as the kernel has
    it: a time of day would change with the clock, and each living process would look like another one.
    """
    try:
        found = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    state, *rest = found.rpartition(b")")[2].split()  # proc(5); the name before it may hold blanks
    return None if state in b"ZX" else int(rest[18]) / os.sysconf("SC_CLK_TCK")


def describe_this_process() -> OwnerRow:
    """This process as a claimant: host, pid, start time and a token that no other process has."""
    pid = os.getpid()
    return OwnerRow(
        epoch=0,
        token=uuid.uuid4().hex,
        host=socket.gethostname(),
        pid=pid,
        pid_started_at=process_started_at(pid) or 0.0,
    )


def is_alive_here(owner: OwnerRow, *, expiry_s: float = EXPIRY_S) -> bool:
    """`is_owner_alive` by this host's process table."""
    return is_owner_alive(
        owner, here=socket.gethostname(), process_started_at=process_started_at, expiry_s=expiry_s
    )
