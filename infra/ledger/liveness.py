"""Whether a sweep's owner still lives: decided on facts, so that a dead driver never blocks the next one."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable

from infra.ledger.rows import OwnerRow

EXPIRY_S = 60.0
SAME_START_S = (
    2.0  # a process's start is known to a clock tick, and the boot time it is counted from is rounded
)


def is_owner_alive(
    owner: OwnerRow,
    *,
    here: str,
    now: float,
    process_started_at: Callable[[int], float | None],
    expiry_s: float = EXPIRY_S,
) -> bool:
    """Whether the owner's process must be taken for living.

    On this host the process table decides, whatever the heartbeat says: a driver that is stopped or starved
    is still there. A pid that started at another time is another process. Elsewhere the heartbeat decides.

    Args:
        here: this host's name, as `describe_this_process` gives it.
        now: seconds since 1970.
        process_started_at: when the process of that pid started, None where there is none.
        expiry_s: how long a heartbeat from another host counts.
    """
    if not owner.token:
        return False
    if owner.host == here:
        started_at = process_started_at(owner.pid)
        return started_at is not None and abs(started_at - owner.pid_started_at) <= SAME_START_S
    return now - owner.heartbeat_at < expiry_s


def process_started_at(pid: int) -> float | None:
    """When the process started, in seconds since 1970; None where there is none, or only its zombie."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.NoSuchProcess:
        return None


def describe_this_process(now: float | None = None) -> OwnerRow:
    """This process as a claimant: host, pid, start time and a token that no other process has."""
    at = time.time() if now is None else now
    pid = os.getpid()
    return OwnerRow(
        epoch=0,
        token=uuid.uuid4().hex,
        host=socket.gethostname(),
        pid=pid,
        pid_started_at=process_started_at(pid) or at,
        heartbeat_at=at,
    )


def is_alive_here(owner: OwnerRow, *, expiry_s: float = EXPIRY_S) -> bool:
    """`alive` by this host's process table and clock."""
    return is_owner_alive(
        owner,
        here=socket.gethostname(),
        now=time.time(),
        process_started_at=process_started_at,
        expiry_s=expiry_s,
    )
