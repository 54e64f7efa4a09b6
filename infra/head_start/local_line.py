"""A lane's line to a coordinator that lives in its own process, and how that coordinator's sweep goes on."""

from __future__ import annotations

import shutil
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from infra.coordinator.core import Coordinator
from infra.coordinator.messages import (
    AttemptReports,
    AttemptResult,
    EpochReport,
    HeartbeatReply,
    LaneHandshake,
    LaneWork,
    StackChoice,
    StackHeartbeatReply,
    StackRequest,
)
from infra.coordinator.run_requests import RunAnswer, RunRequests, TrialKey
from infra.errors import StorageUnavailable
from infra.lanes.lane_process import EXIT_ALONE, end_process
from infra.mirror import discard

GRACE_S = 1.0  # most short trials end within it, and need not go on elsewhere
TICK_S = 0.5
Answer = TypeVar("Answer")


class LocalLine:
    """`LaneChannel` without a network. Calls come from the lane's threads and from the one that ticks: one at
    a time. Where the ledger takes nothing the process ends: memory may be ahead of it, and whoever reads it
    next goes on from what is there."""

    def __init__(
        self,
        core: Coordinator,
        hello: LaneHandshake,
        tracking: str,
        storage: Path,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is said yet.

        Args:
            tracking: MLflow's URI.
            storage: what a trial leaves behind and nobody needs is removed below it.
            steady: seconds that only pass.
        """
        self._core, self._hello, self._storage, self._steady = core, hello, storage, steady
        self._requests = RunRequests(tracking)
        self._lock = threading.Lock()
        self._ask_ahead, self._ended = threading.Event(), threading.Event()
        self._leaving_since: float | None = None

    # -- what the lane says ----------------------------------------------------------------------------------

    def register_lane(self) -> None:
        """See `Coordinator.register_lane`."""
        self._call(lambda core: core.register_lane(self._hello))

    def next_attempts(
        self, ended: AttemptResult | None, reports: Sequence[EpochReport], limit: int = 1
    ) -> LaneWork:
        """See `Coordinator.next_attempts`; a lane that is to leave is given nothing more."""
        leaving = self._leaving_since is not None
        asked = 0 if leaving else limit
        work = self._call(
            lambda core: core.next_attempts(self._hello, ended=ended, reports=reports, limit=asked)
        )
        self._ask_ahead.set()
        return LaneWork(leave=True) if leaving and not work.fenced else work

    def report_attempt_failure(
        self, ended: AttemptResult, reports: Sequence[EpochReport], limit_s: float
    ) -> None:
        """See `Coordinator.report_attempt_failure`."""
        self._call(lambda core: core.report_attempt_failure(ended, reports))

    def find_run(self, trial: TrialKey, wanted: bool) -> RunAnswer:
        """See `RunRequests.find`; nobody makes runs meanwhile, and Velodrome's own families ask for none."""
        return self._requests.find(trial, wanted=wanted)

    def decide(self, attempt: str, reports: list[EpochReport]) -> bool:
        """See `Coordinator.decide`."""
        return self._call(lambda core: core.decide(self._hello, attempt, reports))

    def heartbeat(self, attempt: str | None, reports: list[EpochReport]) -> HeartbeatReply:
        """See `Coordinator.heartbeat`."""
        reply = self._call(lambda core: core.heartbeat(self._hello, attempt, reports))
        return replace(reply, stop=reply.stop or self._is_hurried)

    def heartbeat_stack(self, reports: AttemptReports) -> StackHeartbeatReply:
        """See `Coordinator.heartbeat_stack`."""
        reply = self._call(lambda core: core.heartbeat_stack(self._hello, reports))
        return replace(reply, stop=reply.stop or self._is_hurried)

    def note_held_memory(self, held_bytes: int) -> None:
        """See `Coordinator.note_held_memory`."""
        self._call(lambda core: core.note_held_memory(self._hello, held_bytes))

    def record_stack_choice(self, choice: StackChoice) -> None:
        """See `Coordinator.record_stack_choice`."""
        self._call(lambda core: core.record_stack_choice(self._hello, choice))

    def refill_stack(
        self, request: StackRequest, ended: Sequence[AttemptResult], reports: AttemptReports
    ) -> LaneWork:
        """See `Coordinator.refill_stack`; a lane that is to leave is given nothing more."""
        places = replace(request, limit=0 if self._leaving_since is not None else request.limit)
        work = self._call(lambda core: core.refill_stack(self._hello, places, ended=ended, reports=reports))
        self._ask_ahead.set()
        return work

    # -- what the driver says --------------------------------------------------------------------------------

    def leave(self) -> None:
        """Lanes are there: no trial begins here any more, and one that does not end soon goes on there."""
        if self._leaving_since is None:
            self._leaving_since = self._steady()

    def stop(self, why: str) -> None:
        """See `Coordinator.stop`."""
        self._call(lambda core: core.stop(why))

    def conclude(self) -> str:
        """After the lane has left: the sweep's state as it is now, `running` where others go on with it."""
        self._ended.set()
        return self._call(_conclude)

    # -- what passes with time -------------------------------------------------------------------------------

    def start_clock(self) -> None:
        """Begins to tick in a thread of its own, and to ask ahead for the next trial while one runs."""
        threading.Thread(target=self._tick_loop, daemon=True, name="velodrome-tick").start()

    def _tick_loop(self) -> None:
        due = self._steady() + TICK_S
        while not self._ended.is_set():
            if self._ask_ahead.wait(max(0.0, due - self._steady())):
                self._ask_ahead.clear()
                self._call(lambda core: core.prefetch_trials())
            if self._steady() >= due:
                due = self._steady() + TICK_S
                self._call(lambda core: core.tick())
                for folder in self._call(lambda core: core.take_dropped_folders()):
                    shutil.rmtree(self._storage / folder, ignore_errors=True)
                    with suppress(StorageUnavailable):  # `gc` finds what is left
                        discard(self._storage / folder)

    @property
    def _is_hurried(self) -> bool:
        since = self._leaving_since
        return since is not None and self._steady() - since > GRACE_S

    def _call(self, event: Callable[[Coordinator], Answer]) -> Answer:
        with self._lock:
            try:
                return event(self._core)
            except Exception as error:  # memory may be ahead of the ledger now: this process must end
                traceback.print_exc()
                end_process(EXIT_ALONE, f"the sweep cannot be written down: {error}")


def _conclude(core: Coordinator) -> str:
    if core.stopping is not None:
        core.conclude_stop()
    else:
        core.tick()
        core.hand_over()
    return core.state
