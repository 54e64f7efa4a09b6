"""A lane: a process that pulls attempts until told to leave, and a watch over it. Knows nothing of Ray."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, Protocol, TypeAlias

from infra.coordinator.messages import (
    Assignment,
    AttemptResult,
    EpochReport,
    LaneWork,
    StackChoice,
)
from infra.coordinator.process_faults import find_process_fault
from infra.errors import ClusterUnavailable, StorageUnavailable
from infra.lanes.attempt import AttemptRunner
from infra.lanes.attempt_functions import RunSource
from infra.lanes.attempt_hooks import AttemptHooks, FollowerHooks
from infra.lanes.settings import LaneSettings
from infra.lanes.stack import StackRun
from infra.lanes.stack_hooks import StackChannel, StackHooks
from infra.lanes.stack_widths import StackWidths
from infra.lanes.thread_location import ThreadLocation, locate_thread
from infra.mirror import attach, publish
from infra.storage.checkpoints import CheckpointStore
from infra.storage.paths import log_name
from trainers.code.carried import unpack_carried
from trainers.functions.exits import note_exits
from trainers.loop.device_memory import gibibytes
from trainers.loop.energy import read_energy
from trainers.types import Ranks

BEAT_S = 2.0
CALL_TIMEOUT_S = 600.0  # the coordinator may wait for its ledger this long before it gives up
LAST_WORD_S = 10.0
COLLECTIVE_GRACE_S = 5.0  # a rank that waits for others lets the one that holds them up speak first
LaneHooks: TypeAlias = "AttemptHooks | FollowerHooks | StackHooks"

EXIT_FENCED, EXIT_STALLED, EXIT_ALONE, EXIT_USED = 75, 76, 77, 78
_exit = os._exit  # what a trial's code calls is another one while it runs


class LaneChannel(StackChannel, RunSource, Protocol):
    """The lane's line to its coordinator."""

    def next_attempts(
        self, ended: AttemptResult | None, reports: Sequence[EpochReport], limit: int = 1
    ) -> LaneWork:
        """See `Coordinator.next_attempts`."""

    def report_attempt_failure(
        self, ended: AttemptResult, reports: Sequence[EpochReport], limit_s: float
    ) -> None:
        """See `Coordinator.report_attempt_failure`; said before this process ends, whatever comes of it."""

    def note_held_memory(self, held_bytes: int) -> None:
        """See `Coordinator.note_held_memory`."""

    def record_stack_choice(self, choice: StackChoice) -> None:
        """See `Coordinator.record_stack_choice`."""


def prepare_process(settings: LaneSettings) -> None:
    """Makes this process one that can import and store what its lane's attempts need."""
    for folder in settings.sys_path:
        if folder not in sys.path:
            sys.path.append(folder)
    unpack_carried(settings.functions)
    if settings.bucket:
        attach(Path(settings.storage), settings.bucket)


def end_process(status: int, why: str) -> NoReturn:
    """Ends this process at once, without clean-up that could wait."""
    print(f"velodrome lane ends: {why}", file=sys.stderr, flush=True)
    _exit(status)


def choose_device(gpus: float) -> str:
    """The device of a lane that Ray gave so many GPUs.

    Raises:
        ClusterUnavailable: torch sees none of them: what was asked and paid for would train on a processor.
    """
    import torch

    if not gpus:
        return "cpu"
    if torch.cuda.is_available():
        return "cuda:0"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "not set")
    raise ClusterUnavailable(
        "a lane must see the GPU that Ray gave it",
        f"torch {torch.__version__} on {socket.gethostname()} sees none (CUDA_VISIBLE_DEVICES {visible})",
        "install a torch that fits the node's driver, or start that node with `ray start --num-gpus 0`",
    )


class LaneLoop:
    """One lane's life: pull, train, tell, until there is nothing more."""

    def __init__(
        self, settings: LaneSettings, ranks: Ranks, line: LaneChannel, *, beat_s: float = BEAT_S
    ) -> None:
        """Imports what training needs, so that the first attempt does not pay for it.

        Args:
            beat_s: seconds between two heartbeats.
        """
        import torch

        self._settings, self._ranks, self._line = settings, ranks, line
        torch.set_num_threads(max(1, int(settings.resources.cpus)))
        device = choose_device(settings.resources.gpus or 0.0)
        if ranks.world_size > 1 and device != "cpu":
            import ray.train.torch

            device = str(ray.train.torch.get_device())
        self._runner = AttemptRunner(settings, device=device, ranks=ranks, runs=line)
        self._widths = StackWidths(self._runner, line.record_stack_choice)
        self._watch = Watchdog(self._runner.spec.limits.stall_s, line, ranks, beat_s)

    def run_attempts(self) -> None:
        """Attempts, one after another; returns when told to leave."""
        ended: AttemptResult | None = None
        reports: list[EpochReport] = []
        used = ""
        self._watch.start()
        gc.freeze()  # what was imported stays; the collection after each attempt need not look at it
        try:
            while True:
                work = self._next_work(ended, reports, limit=0 if used else 1)
                ended, reports = None, []
                if work.fenced:
                    end_process(EXIT_FENCED, "another process has this lane by now")
                if work.leave:
                    return
                if used:
                    end_process(EXIT_USED, used)
                if not work.attempts:
                    time.sleep(work.wait_s)
                    continue
                first = work.attempts[0]
                if (width := self._widths.find_width(first)) > 1:
                    self._run_stack(work.attempts, width)
                else:  # of several, whose answer was lost, the others are given again
                    ended, reports = self._run_attempt(first)
                used = self._find_why_used(first, alone=width == 1)
        finally:
            self._watch.stop()

    def _find_why_used(self, assignment: Assignment, *, alone: bool) -> str:
        """Why this process takes no more trials; empty where it does."""
        held = self._runner.find_held_memory(assignment)
        if held:
            self._line.note_held_memory(held)
            return f"it holds {gibibytes(held)} of its GPU after a trial"
        if alone and self._settings.resources.fresh_process:
            return "each trial has a process of its own (resources.fresh_process)"
        return ""

    def _run_stack(self, assignments: Sequence[Assignment], width: int) -> None:
        stack = StackRun(self._runner, self._line, width, self._log_path)
        logs: Any = stack.logs
        with (
            self._watch.watch_attempt(assignments[0], stack.hooks),
            contextlib.redirect_stdout(logs),
            contextlib.redirect_stderr(logs),
        ):
            self._run_members(stack, assignments)
        self._widths.note_width(assignments[0], stack.room)

    def _run_members(self, stack: StackRun, assignments: Sequence[Assignment]) -> None:
        try:
            stack.run(assignments)
        except Exception as error:  # people's code may raise anything; what spoilt the process ends it
            first = stack.hooks.first
            if find_process_fault(error) is None or first is None:
                raise
            ended = self._runner.describe_failure(first.assignment, error)
            self._line.report_attempt_failure(ended, [], CALL_TIMEOUT_S)
            end_process(EXIT_STALLED, ended.detail)

    def _next_work(self, ended: AttemptResult | None, reports: Sequence[EpochReport], limit: int) -> LaneWork:
        if self._ranks.world_size == 1:
            return self._line.next_attempts(ended, reports, limit)
        import torch
        import torch.distributed as dist

        box = [self._line.next_attempts(ended, reports, limit) if self._ranks.rank == 0 else None]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        work = box[0]
        assert work is not None
        return work

    def _run_attempt(self, assignment: Assignment) -> tuple[AttemptResult, list[EpochReport]]:
        store = CheckpointStore(
            self._runner.checkpoint_folder(assignment), keep=self._runner.spec.keep_checkpoints
        )
        leader = self._ranks.rank == 0
        hooks = AttemptHooks(assignment, self._line, store) if leader else FollowerHooks(assignment, store)

        with (
            self._watch.watch_attempt(assignment, hooks),
            self._redirect_output(assignment),
            note_exits(partial(self._tell_exit, assignment, hooks)),
        ):
            ended = self._runner.run(assignment, hooks)
            if ended.detail:
                print(ended.detail, file=sys.stderr)  # with its traceback, below what the attempt printed
        self._publish_log(assignment)
        held = hooks.take_undelivered() if isinstance(hooks, AttemptHooks) else []
        together = self._ranks.world_size == 1 or self._runner.is_shared_failure(ended, assignment)
        if ended.outcome == "failed" and (ended.fault is not None or not together):
            # The other ranks may wait for this one in a collective for ever, and a process that is spoilt
            # would fail every trial after this one: the whole lane starts anew.
            self._line.report_attempt_failure(ended, held, CALL_TIMEOUT_S)
            why = ended.reason if ended.fault is None else ended.fault.words
            end_process(EXIT_STALLED, f"an attempt failed on rank {self._ranks.rank}: {why}")
        if leader and ended.outcome in {"complete", "pruned", "failed"}:
            self._remove_checkpoints(store, ended)
        return ended, held

    def _tell_exit(self, assignment: Assignment, hooks: AttemptHooks | FollowerHooks, how: str) -> None:
        """The last word of a process that the trial's own code ends."""
        rank = f" on rank {self._ranks.rank}" if self._ranks.world_size > 1 else ""
        detail = f"its process ended {how}{rank}"
        print(detail, file=sys.stderr, flush=True)
        self._publish_log(assignment)
        ended = AttemptResult(
            attempt=assignment.attempt, outcome="failed", reason="worker-died", detail=detail
        )
        held = hooks.take_undelivered() if isinstance(hooks, AttemptHooks) else []
        self._line.report_attempt_failure(ended, held, LAST_WORD_S)

    def _remove_checkpoints(self, store: CheckpointStore, ended: AttemptResult) -> None:
        if ended.outcome != "failed":
            with contextlib.suppress(OSError, StorageUnavailable):
                store.delete()
                store.folder.parent.rmdir()  # where nothing else, no kept model, is in it

    @contextlib.contextmanager
    def _redirect_output(self, assignment: Assignment) -> Iterator[None]:
        with (
            self._log_path(assignment).open("a", buffering=1, encoding="utf-8", errors="replace") as out,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(out),
        ):
            yield

    def _publish_log(self, assignment: Assignment) -> None:
        with contextlib.suppress(StorageUnavailable):  # what was printed is no reason to stop
            publish(self._log_path(assignment))

    def _log_path(self, assignment: Assignment) -> Path:
        name = log_name(assignment.family, assignment.role, assignment.number, assignment.ordinal)
        folder = Path(self._settings.logs)
        folder.mkdir(parents=True, exist_ok=True)
        suffix = f".rank{self._ranks.rank}" if self._ranks.rank else ""
        return folder / f"{name}{suffix}"


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
