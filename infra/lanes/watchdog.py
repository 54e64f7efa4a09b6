"""A watch over a lane: heartbeats while it trains, and an end where it stands still."""

from __future__ import annotations

import contextlib
import faulthandler
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import TypeAlias

from infra.coordinator.messages import Assignment, AttemptResult
from infra.lanes.attempt_hooks import AttemptHooks, FollowerHooks
from infra.lanes.channel import LaneChannel
from infra.lanes.lane_process import EXIT_STALLED, end_process
from infra.lanes.stack_hooks import StackHooks
from trainers.loop.energy import read_energy
from trainers.types import Ranks

COLLECTIVES = {"distributed", "autograd"}

BEAT_S = 2.0
LAST_WORD_S = 10.0
COLLECTIVE_GRACE_S = 5.0  # a rank that waits for others lets the one that holds them up speak first
LaneHooks: TypeAlias = "AttemptHooks | FollowerHooks | StackHooks"


class Watchdog:
    """A thread beside training: heartbeats, and an end to attempts that stand still."""

    def __init__(self, stall_s: float, line: LaneChannel, ranks: Ranks, beat_s: float = BEAT_S) -> None:
        """Nothing runs yet.

        Args:
            stall_s: without a step for so long an attempt counts as hung.
            ranks: which one this is; the coordinator hears the heartbeat of the first.
            beat_s: seconds between two heartbeats.
        """
        self._stall_s, self._line, self._ranks, self._beat_s = stall_s, line, ranks, beat_s
        self._training = threading.get_ident()
        self._now: tuple[Assignment, LaneHooks] | None = None
        self._steps, self._moved_at = 0, time.monotonic()
        self._end = threading.Event()

    def start(self) -> None:
        """Begins to watch over the thread that calls it."""
        self._training = threading.get_ident()
        threading.Thread(target=self._watch_loop, daemon=True, name="velodrome-watch").start()

    def stop(self) -> None:
        """Ends."""
        self._end.set()

    @contextlib.contextmanager
    def watch_attempt(self, assignment: Assignment, hooks: LaneHooks) -> Iterator[None]:
        """Watches over one attempt, or over a stack that began with it."""
        self._steps, self._moved_at = hooks.steps, time.monotonic()
        self._now = (assignment, hooks)
        try:
            yield
        finally:
            self._now = None

    def _watch_loop(self) -> None:
        while not self._end.wait(min(self._beat_s, self._stall_s / 2)):
            now = self._now
            self._check_progress(now)
            read_energy()  # often enough that no counter begins anew twice in between
            if self._ranks.rank != 0:
                continue
            if now is not None and not isinstance(now[1], FollowerHooks):
                now[1].send_heartbeat()
            else:
                self._line.heartbeat(None, [])

    def _check_progress(self, now: tuple[Assignment, LaneHooks] | None) -> None:
        if now is None or now[1].steps != self._steps:
            self._steps, self._moved_at = (0 if now is None else now[1].steps), time.monotonic()
            return
        silent_s = time.monotonic() - self._moved_at
        if silent_s <= self._stall_s:
            return
        stands = locate_thread(self._training)
        if self._ranks.world_size == 1:
            stands = replace(stands, waits=False)
        if not stands.waits or silent_s > self._stall_s + COLLECTIVE_GRACE_S:
            first = now[1].first if isinstance(now[1], StackHooks) else None
            self._end_stalled(now[0] if first is None else first.assignment, silent_s, stands)

    def _end_stalled(self, assignment: Assignment, silent_s: float, stands: ThreadLocation) -> None:
        # The log that the attempt prints to; a lane's own stderr has no file number that we may rely on.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
        on = f" on rank {self._ranks.rank} of {self._ranks.world_size}" if self._ranks.world_size > 1 else ""
        what = "waits for other ranks in" if stands.waits else "is in"
        detail = (
            f"no step for {silent_s:.0f} s{on} (limits.stall): it {what} {stands.text}; "
            "the stacks of all threads are in the attempt's log"
        )
        ended = AttemptResult(attempt=assignment.attempt, outcome="failed", reason="timeout", detail=detail)
        self._line.report_attempt_failure(ended, [], LAST_WORD_S)
        end_process(EXIT_STALLED, detail)


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadLocation:
    """Where a thread is.

    Attributes:
        text: the innermost function that is not torch's own, with its file and line.
        waits: whether it may wait for other ranks: in a collective, or in a backward pass, which averages
            gradients.
    """

    text: str
    waits: bool


def locate_thread(thread: int) -> ThreadLocation:
    """Where the thread of that identity is now.

    Of ranks that all stand still, those that wait in a collective are not what holds the others up.
    """
    innermost = frame = sys._current_frames().get(thread)
    waits = False
    while frame is not None and _is_torch(frame):
        waits = waits or not COLLECTIVES.isdisjoint(Path(frame.f_code.co_filename).parts)
        frame = frame.f_back
    return ThreadLocation(text=_frame_name(frame or innermost), waits=waits)


def _is_torch(frame: FrameType) -> bool:
    return "torch" in Path(frame.f_code.co_filename).parts


def _frame_name(frame: FrameType | None) -> str:
    if frame is None:
        return "a thread that has ended"
    code = frame.f_code
    return f"{code.co_name} ({Path(code.co_filename).name}:{frame.f_lineno})"
