"""`velodrome stop`: a clean end of a sweep that another process runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from flows.config.lookup import sweep_in_ledger
from flows.sweeps.ownership import POLL_S, living_owner
from flows.terminal.json_results import PlainResult
from flows.terminal.next_command import next_command
from infra.errors import OwnedElsewhere
from infra.home import Home
from infra.ledger import views
from infra.ledger.rows import SweepRow
from infra.ledger.store import Ledger

LIMIT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StopResult(PlainResult):
    """What became of the request. `was_running`: whether there was anything to stop."""

    sweep: str
    was_running: bool
    state: str
    seconds: float = 0.0


def stop(
    name: str,
    *,
    limit_s: float = LIMIT_S,
    home: Home | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> StopResult:
    """Asks the driver to write checkpoints, put running trials back to waiting and end; waits until it has.

    Args:
        limit_s: how long to wait for its end.

    Raises:
        WrongInput: no such sweep.
        OwnedElsewhere: the driver lives on after the limit; the request stays.
    """
    with sweep_in_ledger(name, home or Home.from_environment()) as (ledger, row):
        if living_owner(ledger, row) is None:
            state = "stopped" if row.state == "running" else row.state
            return StopResult(sweep=row.label, was_running=False, state=state)
        ledger.add_request(row.id, "stop", {}, time.time())
        seconds = _wait_for_end(ledger, row, limit_s, sleep)
        return StopResult(
            sweep=row.label,
            was_running=True,
            state=views.sweep_by_id(ledger, row.id).state,
            seconds=round(seconds, 1),
        )


def _wait_for_end(ledger: Ledger, row: SweepRow, limit_s: float, sleep: Callable[[float], None]) -> float:
    began = time.monotonic()
    while (owner := living_owner(ledger, row)) is not None:
        waited = time.monotonic() - began
        if waited >= limit_s:
            raise OwnedElsewhere(
                f"the driver of {row.label} must end within {limit_s:g} s (--timeout)",
                f"pid {owner.pid} on {owner.host} still runs",
                f"wait longer, look at `{next_command(f'logs {row.label}', row.spec.ledger)}`,"
                " or send it SIGTERM twice",
            )
        sleep(POLL_S)
    return time.monotonic() - began
