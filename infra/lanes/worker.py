"""A lane: a process that pulls attempts until told to leave. Knows nothing of Ray."""

from __future__ import annotations

import contextlib
import gc
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from infra.coordinator.messages import Assignment, AttemptResult, EpochReport, LaneWork
from infra.coordinator.process_faults import find_process_fault
from infra.errors import StorageUnavailable
from infra.lanes.attempt import AttemptRunner
from infra.lanes.attempt_hooks import AttemptHooks, FollowerHooks
from infra.lanes.channel import LaneChannel
from infra.lanes.lane_output import LaneOutput
from infra.lanes.lane_process import EXIT_FENCED, EXIT_STALLED, EXIT_USED, choose_device, end_process
from infra.lanes.settings import LaneSettings
from infra.lanes.stack import StackRun
from infra.lanes.stack_widths import StackWidths
from infra.lanes.watchdog import BEAT_S, LAST_WORD_S, Watchdog
from infra.mirror import publish
from infra.storage.checkpoints import CheckpointStore
from infra.storage.paths import log_name, rank_log_name
from trainers.code.exits import note_exits
from trainers.loop.device_memory import gibibytes
from trainers.types import Ranks

CALL_TIMEOUT_S = 600.0  # the coordinator may wait for its ledger this long before it gives up


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
        self._output = LaneOutput()
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
            self._runner.jobs.checkpoint_folder(assignment), keep=self._runner.spec.keep_checkpoints
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
        stream: Any = self._output
        with (
            self._log_path(assignment).open("a", buffering=1, encoding="utf-8", errors="replace") as out,
            self._output.lead_to(out),
            contextlib.redirect_stdout(stream),
            contextlib.redirect_stderr(stream),
        ):
            yield

    def _publish_log(self, assignment: Assignment) -> None:
        with contextlib.suppress(StorageUnavailable):  # what was printed is no reason to stop
            publish(self._log_path(assignment))

    def _log_path(self, assignment: Assignment) -> Path:
        name = log_name(assignment.family, assignment.role, assignment.number, assignment.ordinal)
        folder = Path(self._settings.logs)
        folder.mkdir(parents=True, exist_ok=True)
        return folder / rank_log_name(name, self._ranks.rank)
