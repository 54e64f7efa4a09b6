"""What a person sees of a sweep while it runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from infra.errors import LedgerUnavailable
from infra.ledger import views
from infra.ledger.broken_families import find_broken_families
from infra.ledger.follower import TrialFollower
from infra.ledger.rows import SweepRow
from infra.ledger.snapshot import make_snapshot
from infra.ledger.store import Ledger

if TYPE_CHECKING:
    from flows.terminal.live_progress import LiveProgress
    from infra.coordinator.run_requests import KnownRuns
    from infra.coordinator.shell.status import CoordinatorStatus
    from infra.tracking.sender import Sender

SHOW_EVERY_S = 0.5
SHOW_REST = 20  # showing rests this many times as long as it took: with thousands of trials it takes a while


class SweepProgress:
    """Shows how a sweep stands each time that its driver says so, but not too often."""

    def __init__(
        self, ledger: Ledger, sweep: SweepRow, sender: Sender, role: str, screen: LiveProgress
    ) -> None:
        self._ledger, self._sweep, self._sender, self._role = ledger, sweep, sender, role
        self._screen, self._follower = screen, TrialFollower(ledger, sweep.id, role)
        self._told: set[str] = set()
        self._started_at, self._began, self._show_next_at = time.time(), time.monotonic(), 0.0

    def watch(self, standing: CoordinatorStatus) -> KnownRuns | None:
        """Shows it, and gives what tracking has of the runs that are asked for."""
        began_at = time.monotonic()
        if standing.state != "running" or began_at >= self._show_next_at:
            self._show(standing, began_at)
            took_s = time.monotonic() - began_at
            self._show_next_at = began_at + max(SHOW_EVERY_S, SHOW_REST * took_s)
        return self._sender.find_runs(standing.wanted_runs) if standing.wanted_runs else None

    def _show(self, standing: CoordinatorStatus, began_at: float) -> None:
        ended = standing.state != "running"
        if standing.lanes:  # until then there is nothing to say
            self._sender.start()
        if ended:  # while Ray's processes end
            self._sender.wake()
        with suppress(LedgerUnavailable):  # the coordinator waits for its return, with a limit
            row, trials = views.sweep_by_id(self._ledger, self._sweep.id), self._follower.trials()
            # MLflow takes seconds to load: the first value does not wait for that.
            if standing.head_start and any(trial.has_ended for trial in trials):
                self._sender.start()
            for broken in find_broken_families(row, trials) if not ended else ():
                if broken.family not in self._told:
                    self._told.add(broken.family)
                    self._screen.print_line(str(broken))
            self._screen.update(
                make_snapshot(
                    row.spec,
                    trials,
                    state=standing.state,
                    now=self._started_at + began_at - self._began,
                    started_at=self._started_at,
                    role=self._role,
                    lanes_up=standing.lanes,
                    lanes_starting=0 if ended else max(0, standing.planned - standing.lanes),
                    unsent=self._sender.count_unsent(),
                    message=_message(standing),
                    first_value=self._follower.first_value(self._sweep.spec.objectives[0].metric),
                )
            )


@contextmanager
def show_progress(ledger: Ledger, sweep: SweepRow, sender: Sender, role: str) -> Iterator[SweepProgress]:
    """A screen for a sweep, until it has ended."""
    from flows.terminal.live_progress import LiveProgress

    with LiveProgress(sweep.spec) as screen:
        yield SweepProgress(ledger, sweep, sender, role, screen)


def _message(standing: CoordinatorStatus) -> str:
    if standing.stopping:
        return f"stopping: {standing.stopping}"
    if standing.state != "running" or not standing.wanted:
        return ""
    if standing.waits_for:
        return standing.waits_for
    if standing.head_start:
        return "lanes are starting"
    return "" if standing.lanes else "waiting for a lane"
