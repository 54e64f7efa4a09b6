"""Acting on a sweep that somebody may be running: ask its driver, or take it for a moment and write."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from flows.terminal.console import print_stderr
from flows.terminal.next_command import next_command
from infra.errors import OwnedElsewhere
from infra.ledger import views
from infra.ledger.batch import WriteBatch
from infra.ledger.beats import keep_beating
from infra.ledger.liveness import describe_this_process, is_alive_here, may_replace, watch_owner
from infra.ledger.rows import OwnerRow, SweepRow
from infra.ledger.store import Ledger
from trainers.types import JsonObject

POLL_S = 0.2
ANSWER_LIMIT_S = 30.0
LEAVE_LIMIT_S = 600.0  # a driver whose sweep has ended may still have much to send


def living_owner(ledger: Ledger, row: SweepRow) -> OwnerRow | None:
    """Who runs the sweep now, or None."""
    owner = views.owner(ledger, row.id)
    return owner if owner is not None and is_alive_here(owner) else None


@dataclass(frozen=True, slots=True)
class Ownership:
    """A sweep that is this process's: what the ledger knows that by."""

    token: str
    epoch: int


Commit: TypeAlias = Callable[[WriteBatch], None]


@contextmanager
def own_sweep(ledger: Ledger, row: SweepRow) -> Iterator[Ownership]:
    """Owns the sweep within the block.

    Raises:
        OwnedElsewhere: another living process owns it.
    """
    claimant = describe_this_process()
    silent = watch_owner(
        lambda: views.owner(ledger, row.id),
        lambda owner, left_s: print_stderr(
            f"{row.label} was run by pid {owner.pid} on {owner.host}; looking for up to {left_s:.0f} s"
            " whether it still is"
        ),
    )
    epoch, other = ledger.claim(row.id, claimant, may_take=lambda owner: may_replace(owner, silent))
    if other is not None:
        raise owner_error(row, other)
    try:
        with keep_beating(ledger.url, row.id, claimant.token):
            yield Ownership(claimant.token, epoch)
    finally:
        ledger.release(row.id, claimant.token)


@contextmanager
def commit_as_owner(ledger: Ledger, row: SweepRow) -> Iterator[Callable[[WriteBatch], None]]:
    """Owns the sweep for a moment, so that no driver starts in between; gives a function that commits."""
    with own_sweep(ledger, row) as ownership:
        yield lambda batch: ledger.commit(row.id, ownership.epoch, batch)


def owner_error(row: SweepRow, owner: OwnerRow) -> OwnedElsewhere:
    """The refusal that names who runs the sweep."""
    return OwnedElsewhere(
        f"nobody must run {row.label} meanwhile",
        f"pid {owner.pid} on {owner.host}",
        f"`{next_command(f'stop {row.label}', row.spec.ledger)}` ends it cleanly",
    )


def ask_driver(
    ledger: Ledger,
    row: SweepRow,
    kind: str,
    payload: JsonObject,
    *,
    limit_s: float = ANSWER_LIMIT_S,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Asks the sweep's driver for something and waits until it has taken it up.

    Returns:
        False where no living driver took it up; the request is then withdrawn, and the caller may do it.
    """
    if living_owner(ledger, row) is None:
        return False
    request = ledger.add_request(row.id, kind, payload, time.time())
    try:
        return _await_answer(ledger, row, request, limit_s, sleep)
    except BaseException:  # Ctrl-C too: who asked is not there any more
        ledger.withdraw_request(request, time.time())
        raise


def _await_answer(
    ledger: Ledger, row: SweepRow, request: int, limit_s: float, sleep: Callable[[float], None]
) -> bool:
    """Whether a request was answered; else it is withdrawn. A driver that is about to answer writes nothing
    then."""
    deadline = time.monotonic() + limit_s
    while any(entry.id == request for entry in views.open_requests(ledger, row.id)):
        owner = living_owner(ledger, row)
        if owner is None:
            return not ledger.withdraw_request(request, time.time())
        trains = views.sweep_by_id(ledger, row.id).state == "running"  # else it is about to leave
        if time.monotonic() > (deadline if trains else deadline + LEAVE_LIMIT_S):
            if not ledger.withdraw_request(request, time.time()):
                break
            raise OwnedElsewhere(
                f"the driver of {row.label} must answer within {limit_s:g} s",
                f"no answer of pid {owner.pid} on {owner.host}",
                "nothing was changed;"
                f" `{next_command(f'logs {row.label}', row.spec.ledger)}` shows what the driver does",
            )
        sleep(POLL_S)
    return True


def change_sweep(
    ledger: Ledger, row: SweepRow, kind: str, payload: JsonObject, write: Callable[[Commit], None]
) -> bool:
    """Has a sweep's driver make a change, or makes it here where nobody runs the sweep.

    Args:
        write: makes it, by the function that it is given.

    Returns:
        Whether a driver took it up.
    """
    deadline = time.monotonic() + ANSWER_LIMIT_S
    while True:
        if ask_driver(ledger, row, kind, payload, limit_s=ANSWER_LIMIT_S):
            return True
        try:
            with commit_as_owner(ledger, row) as commit:
                write(commit)
            return False
        except OwnedElsewhere:  # another command, for a moment, or a driver that is there by now
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_S)
