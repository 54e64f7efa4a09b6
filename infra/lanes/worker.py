"""The function that Ray Train runs in each worker: a lane that pulls attempts until told to leave."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import logging
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar

import ray
import ray.train
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from infra.coordinator.messages import (
    Assignment,
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
from infra.coordinator.process_faults import find_process_fault
from infra.coordinator.run_requests import RunAnswer, TrialKey
from infra.errors import ClusterUnavailable, StorageUnavailable
from infra.lanes.attempt import AttemptRunner
from infra.lanes.attempt_hooks import AttemptHooks, FollowerHooks
from infra.lanes.settings import LaneConfig, LaneSettings
from infra.lanes.stack import StackRun
from infra.lanes.stack_hooks import StackHooks
from infra.lanes.stack_widths import StackWidths
from infra.lanes.thread_location import ThreadLocation, locate_thread
from infra.ledger.liveness import process_started_at
from infra.mirror import attach, publish
from infra.storage.checkpoints import CheckpointStore
from infra.storage.paths import log_name
from trainers.code.carried import unpack_carried
from trainers.functions.exits import note_exits
from trainers.loop.device_memory import gibibytes
from trainers.loop.energy import read_energy
from trainers.types import Ranks

if TYPE_CHECKING:
    from infra.coordinator.actor import CoordinatorHandle
    from trainers.types import Json

BEAT_S = 2.0
CALL_TIMEOUT_S = 600.0  # the coordinator may wait for its ledger this long before it gives up
LAST_WORD_S = 10.0
COLLECTIVE_GRACE_S = 5.0  # a rank that waits for others lets the one that holds them up speak first
LaneHooks: TypeAlias = "AttemptHooks | FollowerHooks | StackHooks"

EXIT_FENCED, EXIT_STALLED, EXIT_ALONE, EXIT_USED = 75, 76, 77, 78
_exit = os._exit  # what a trial's code calls is another one while it runs

Answer = TypeVar("Answer")
_log = logging.getLogger(__name__)


def run_lane(config: LaneConfig) -> None:
    """Runs one lane, or one rank of a lane of several, in this Ray Train worker."""
    settings: LaneSettings = config["settings"]
    for folder in settings.sys_path:
        if folder not in sys.path:
            sys.path.append(folder)
    unpack_carried(settings.functions)
    if settings.bucket:
        attach(Path(settings.storage), settings.bucket)
    ranks = _read_ranks(settings)
    line = CoordinatorClient(config["coordinator"], _make_handshake(settings, ranks))
    try:
        made = LaneLoop(settings, ranks, line)
        if ranks.rank == 0:  # the others are not heard: one process stands for the lane
            line.register_lane()
    except Exception:  # whatever it is would come again at each restart: the driver must hear of it
        line.report_start_failure(traceback.format_exc())
        raise
    made.run_attempts()


def _read_ranks(settings: LaneSettings) -> Ranks:
    if settings.resources.workers == 1:
        # Lanes of one worker know nothing of their neighbours, whatever Ray says about the run.
        for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
            os.environ.pop(name, None)
        return Ranks()
    context = ray.train.get_context()
    return Ranks(rank=context.get_world_rank(), world_size=context.get_world_size())


def _make_handshake(settings: LaneSettings, ranks: Ranks) -> LaneHandshake:
    slot = ray.train.get_context().get_world_rank() if ranks.world_size == 1 else 0
    pid = os.getpid()
    resources = settings.resources
    return LaneHandshake(
        lane=f"{settings.run}-{slot}", shape=settings.shape, host=socket.gethostname(), pid=pid,
        pid_started_at=process_started_at(pid) or 0.0,
        facts={
            "workers": resources.workers, "cpus": resources.cpus, "gpus": resources.gpus or 0.0,
            "actor": ray.get_runtime_context().get_actor_id(),
            **_share_nodes(ranks),
            "gpu": os.environ.get("CUDA_VISIBLE_DEVICES", "") if resources.gpus else "",
        },
    )  # fmt: skip


def _share_nodes(ranks: Ranks) -> dict[str, Json]:
    """The node of the lane's first process, and those of all ranks where there are several."""
    here: str = ray.get_runtime_context().get_node_id()
    if ranks.world_size == 1:
        return {"node": here}
    import torch.distributed as dist

    nodes: list[Json] = [""] * ranks.world_size
    dist.all_gather_object(nodes, here)
    return {"node": here, "nodes": nodes}


@dataclass(slots=True)
class CoordinatorClient:
    """Calls to the coordinator, each with a limit. A coordinator that is gone for good ends the process:
    whoever drives the sweep has ended too."""

    actor: CoordinatorHandle
    hello: LaneHandshake

    def register_lane(self) -> None:
        """Says hello, with the handle by which this process can be ended."""
        handle = ray.get_runtime_context().current_actor
        self._call(lambda: self.actor.register_lane.remote(self.hello, handle))

    def report_start_failure(self, text: str) -> None:
        """Tells that the lane could not begin."""
        self._call(lambda: self.actor.report_start_failure.remote(self.hello.lane, text))

    def report_attempt_failure(
        self, ended: AttemptResult, reports: Sequence[EpochReport], limit_s: float
    ) -> None:
        """See `Coordinator.report_attempt_failure`; said before this process ends, whatever comes of it."""
        with contextlib.suppress(Exception):  # the process ends either way; its death tells the rest
            ray.get(self.actor.report_attempt_failure.remote(ended, list(reports)), timeout=limit_s)

    def note_held_memory(self, held_bytes: int) -> None:
        """See `Coordinator.note_held_memory`."""
        self._call(lambda: self.actor.note_held_memory.remote(self.hello, held_bytes))

    def find_run(self, trial: TrialKey, wanted: bool) -> RunAnswer:
        """See `RunRequests.find`."""
        return self._call(lambda: self.actor.find_run.remote(trial, wanted))

    def next_attempts(
        self, ended: AttemptResult | None, reports: Sequence[EpochReport], limit: int = 1
    ) -> LaneWork:
        """See `Coordinator.next_attempts`."""
        work: LaneWork = self._call(
            lambda: self.actor.next_attempts.remote(self.hello, ended, list(reports), limit)
        )
        return work

    def decide(self, attempt: str, reports: list[EpochReport]) -> bool:
        """See `Coordinator.decide`."""
        return bool(self._call(lambda: self.actor.decide.remote(self.hello, attempt, reports)))

    def heartbeat(self, attempt: str | None, reports: list[EpochReport]) -> HeartbeatReply:
        """See `Coordinator.heartbeat`. A fenced process ends here."""
        pulse: HeartbeatReply = self._call(lambda: self.actor.heartbeat.remote(self.hello, attempt, reports))
        if pulse.fenced:
            end_process(EXIT_FENCED, "another process has this lane by now")
        return pulse

    def heartbeat_stack(self, reports: AttemptReports) -> StackHeartbeatReply:
        """See `Coordinator.heartbeat_stack`. A fenced process ends here."""
        reply: StackHeartbeatReply = self._call(
            lambda: self.actor.heartbeat_stack.remote(self.hello, dict(reports))
        )
        if reply.fenced:
            end_process(EXIT_FENCED, "another process has this lane by now")
        return reply

    def record_stack_choice(self, choice: StackChoice) -> None:
        """See `Coordinator.record_stack_choice`."""
        self._call(lambda: self.actor.record_stack_choice.remote(self.hello, choice))

    def refill_stack(
        self, request: StackRequest, ended: Sequence[AttemptResult], reports: AttemptReports
    ) -> LaneWork:
        """See `Coordinator.refill_stack`. A fenced process ends here."""
        work: LaneWork = self._call(
            lambda: self.actor.refill_stack.remote(self.hello, request, list(ended), dict(reports))
        )
        if work.fenced:
            end_process(EXIT_FENCED, "another process has this lane by now")
        return work

    def _call(self, send: Callable[[], ray.ObjectRef[Answer]]) -> Answer:
        try:
            return ray.get(send(), timeout=CALL_TIMEOUT_S)
        except (RayActorError, RayTaskError, GetTimeoutError) as error:
            end_process(EXIT_ALONE, f"the coordinator is gone: {error}")


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

    def __init__(self, settings: LaneSettings, ranks: Ranks, line: CoordinatorClient) -> None:
        """Imports what training needs, so that the first attempt does not pay for it."""
        import torch

        self._settings, self._ranks, self._line = settings, ranks, line
        torch.set_num_threads(max(1, int(settings.resources.cpus)))
        device = choose_device(settings.resources.gpus or 0.0)
        if ranks.world_size > 1 and device != "cpu":
            import ray.train.torch

            device = str(ray.train.torch.get_device())
        self._runner = AttemptRunner(settings, device=device, ranks=ranks, runs=line)
        self._widths = StackWidths(self._runner, line.record_stack_choice)
        self._watch = Watchdog(self._runner.spec.limits.stall_s, line, ranks)

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
        except Exception as error:
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
    """A thread beside training: a heartbeat every two seconds, and an end to attempts that stand still."""

    def __init__(self, stall_s: float, line: CoordinatorClient, ranks: Ranks) -> None:
        """Nothing runs yet.

        Args:
            stall_s: without a step for so long an attempt counts as hung.
            ranks: which one this is; the coordinator hears the heartbeat of the first.
        """
        self._stall_s, self._line, self._ranks = stall_s, line, ranks
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
        while not self._end.wait(min(BEAT_S, self._stall_s / 2)):
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
