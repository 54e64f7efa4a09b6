"""Whether a sweep's owner still lives: decided on facts, so that a dead driver never blocks the next one."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable
from pathlib import Path

from infra.ledger.rows import OwnerRow
from trainers.storage.machine import is_on_this_machine, machine_id

EXPIRY_S = 60.0
WATCH_S = 7.0  # three heartbeats and a second
LOOK_S = 0.5


def is_owner_alive(
    owner: OwnerRow,
    *,
    is_here: bool,
    process_started_at: Callable[[int], float | None],
    expiry_s: float = EXPIRY_S,
) -> bool:
    """Whether the owner's process must be taken for living.

    On this machine the process table decides, whatever the heartbeat says: a driver that is stopped or
    starved is still there. A pid that started at another time is another process. Elsewhere the heartbeat
    decides; before an owner is replaced, `watch_owner` looks whether it beats.

    Args:
        is_here: whether its pid is one of this machine's, as `is_owner_here` tells it.
        process_started_at: when the process of that pid started, as `process_started_at` below tells it;
            None where there is none.
        expiry_s: how long a heartbeat from another machine counts.
    """
    if not owner.token:
        return False
    if is_here:
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
        token=f"{uuid.uuid4().hex}-{machine_id()}",
        host=socket.gethostname(),
        pid=pid,
        pid_started_at=process_started_at(pid) or 0.0,
    )


def is_owner_here(owner: OwnerRow) -> bool:
    """Whether the owner is, or was, a process of this machine since it started."""
    return is_on_this_machine(owner.machine, owner.host)


def is_alive_here(owner: OwnerRow) -> bool:
    """`is_owner_alive` by this machine's process table."""
    return is_owner_alive(owner, is_here=is_owner_here(owner), process_started_at=process_started_at)


def watch_owner(
    read: Callable[[], OwnerRow | None],
    say: Callable[[OwnerRow, float], object] = lambda owner, left_s: None,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> OwnerRow | None:
    """Looks whether an owner on another machine beats, for as long as it may be silent.

    Its age alone would not tell: the database's clock may have been set since, forward, so that a living one
    looks dead, or back, so that a dead one would live for hours.

    Args:
        read: the owner as the ledger has it by now.
        say: told once, where it takes longer than a heartbeat, how many seconds it may still take.

    Returns:
        The owner that did not beat, which may be replaced as long as this is its row; None where there is
        none on another machine, or where it lives.
    """
    first = read()
    if first is None or not first.token or is_owner_here(first):
        return None
    began = clock()
    until, said = began + EXPIRY_S - min(max(0.0, first.silent_s), EXPIRY_S - WATCH_S), False
    while (now := clock()) < until:
        if not said and now - began > WATCH_S / 2:
            say(first, until - now)
            said = True
        sleep(LOOK_S)
        found = read()
        if found is None or found.beat != first.beat:
            return None
    return first


def may_replace(owner: OwnerRow, silent: OwnerRow | None) -> bool:
    """Whether another process may own the sweep instead.

    Args:
        silent: what `watch_owner` gave.
    """
    if is_owner_here(owner):
        return not is_alive_here(owner)
    return silent is not None and owner.beat == silent.beat
