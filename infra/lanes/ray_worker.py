"""The function that Ray Train runs in each worker, and its line to the coordinator's actor."""

from __future__ import annotations

import contextlib
import os
import socket
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import ray
import ray.train
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

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
from infra.coordinator.run_requests import RunAnswer, TrialKey
from infra.lanes.lane_process import EXIT_ALONE, EXIT_FENCED, end_process, prepare_process
from infra.lanes.settings import LaneConfig, LaneSettings
from infra.lanes.worker import CALL_TIMEOUT_S, LaneLoop
from infra.ledger.liveness import process_started_at
from trainers.storage.machine import machine_id
from trainers.types import Ranks

if TYPE_CHECKING:
    from infra.coordinator.shell.actor import CoordinatorHandle
    from trainers.types import Json

Answer = TypeVar("Answer")


def run_lane(config: LaneConfig) -> None:
    """Runs one lane, or one rank of a lane of several, in this Ray Train worker."""
    settings: LaneSettings = config["settings"]
    prepare_process(settings)
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
        pid_started_at=process_started_at(pid) or 0.0, machine=machine_id(),
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
