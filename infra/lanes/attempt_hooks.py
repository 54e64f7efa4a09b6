"""What the training loop of an attempt says and asks, carried to the coordinator and back.

Reports are held and travel with the next message there is (a deciding report, a heartbeat, the end), so
that a report costs no call. Before a checkpoint is written they are delivered: what a checkpoint lets an
attempt skip must have been told.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from infra.coordinator.messages import Assignment, EpochReport, HeartbeatReply
from infra.errors import StorageUnavailable
from infra.lanes.process_sampler import ProcessSampler
from infra.storage.checkpoints import CheckpointStore

if TYPE_CHECKING:
    import torch

    from trainers.types import Document, Json


_log = logging.getLogger(__name__)


class ReportChannel(Protocol):
    """The lane's line to its coordinator, for one attempt."""

    def decide(self, attempt: str, reports: list[EpochReport]) -> bool:
        """See `Coordinator.decide`."""

    def heartbeat(self, attempt: str | None, reports: list[EpochReport]) -> HeartbeatReply:
        """See `Coordinator.heartbeat`."""


class AttemptHooks:
    """`trainers.job.Hooks` of one attempt on rank 0. Reports come from the training thread, heartbeats from
    another: `held` is shared under a lock."""

    def __init__(
        self,
        assignment: Assignment,
        line: ReportChannel,
        checkpoints: CheckpointStore,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Nothing is read or sent yet."""
        self.assignment, self._line, self._checkpoints, self._clock = assignment, line, checkpoints, clock
        self._lock = threading.Lock()
        self._held: list[EpochReport] = []
        self._unjudged: EpochReport | None = None
        self._last = 0  # the newest report; own code may skip some, and a rung between two still decides
        self.steps = 0  # calls of `alive`: any change is progress
        self.void = False
        self.stop = False
        self.resumes = assignment.resumes  # whether there may be a checkpoint of the trial's
        self._process = ProcessSampler()

    def report(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Holds the report, and asks at once where the pruner can decide."""
        self.hold(epoch, metrics)
        return self.judge()

    def hold(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Holds the report until the next message, or until it is judged."""
        self.steps += 1
        report = EpochReport(epoch=epoch, metrics={**metrics, **self._process.sample()}, at=self._clock())
        with self._lock:
            passed, self._last = range(self._last + 1, epoch + 1), epoch
            deciding = self.assignment.deciding
            self._held.append(report)
            decides = any(number in deciding for number in passed)
            self._unjudged = report if decides else None

    def judge(self) -> bool:
        """Asks the pruner about the report that was held last, where it can decide there."""
        with self._lock:
            report, self._unjudged = self._unjudged, None
            sent = list(self._held)
        if report is None:
            return not self.void
        others = [one for one in sent if one is not report]  # a heartbeat may have told of it already
        go = self._line.decide(self.assignment.attempt, [*others, report])
        self.mark_delivered(sent)
        if not go and self.assignment.pauses:
            self.stop = go = True
        return go and not self.void

    def alive(self, step: int) -> None:
        """Notes progress."""
        self.steps += 1

    def stopping(self) -> bool:
        """Whether to write a checkpoint and leave."""
        return self.stop or self.void

    def save(self, tensors: Mapping[str, torch.Tensor], document: Mapping[str, Json]) -> None:
        """Delivers what is held, then writes the checkpoint, unless the attempt is void: its reports were
        refused. Where the storage takes none training goes on: the former one stays, and the next is tried
        when it is due."""
        self.send_heartbeat()
        if self.void:
            return
        try:
            self._checkpoints.save(tensors, document)
        except StorageUnavailable as error:
            _log.warning("no checkpoint was written, training goes on: %s", error)

    def load(self) -> tuple[dict[str, torch.Tensor], Document] | None:
        """The newest checkpoint of an earlier attempt that verifies."""
        if not self.resumes:
            return None
        loaded = self._checkpoints.load()
        return None if loaded is None else (loaded.tensors, loaded.document)

    def send_heartbeat(self) -> None:
        """One heartbeat with all that is held; what could not be delivered stays held. Training goes on
        meanwhile: a call may wait for a coordinator that is just starting anew."""
        sent = self.copy_held()
        pulse = self._line.heartbeat(self.assignment.attempt, sent)
        self.mark_delivered(sent)
        self.note_reply(stop=pulse.stop, void=pulse.void)

    def copy_held(self) -> list[EpochReport]:
        """The reports that have not been told yet."""
        with self._lock:
            return list(self._held)

    def mark_delivered(self, sent: list[EpochReport]) -> None:
        """Lets go of reports that have been told, unless another message was faster."""
        with self._lock:
            self._held = self._held[len(sent) :] if self._held[: len(sent)] == sent else self._held

    def note_reply(self, *, stop: bool, void: bool) -> None:
        """What the coordinator answered to a heartbeat."""
        self.stop, self.void = self.stop or stop, self.void or void

    def take_undelivered(self) -> list[EpochReport]:
        """The reports that have not been told yet, to travel with the end."""
        with self._lock:
            held, self._held = self._held, []
        return held


class FollowerHooks:
    """The hooks of ranks above 0: they read the same checkpoint and note progress, nothing else."""

    def __init__(self, assignment: Assignment, checkpoints: CheckpointStore) -> None:
        """Nothing is read yet."""
        self.assignment, self._checkpoints = assignment, checkpoints
        self.steps = 0

    def report(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Rank 0's numbers count."""
        return True

    def alive(self, step: int) -> None:
        """Notes progress."""
        self.steps += 1

    def stopping(self) -> bool:
        """Rank 0 is told."""
        return False

    def save(self, tensors: Mapping[str, torch.Tensor], document: Mapping[str, Json]) -> None:
        """Rank 0 writes."""

    def load(self) -> tuple[dict[str, torch.Tensor], Document] | None:
        """The newest checkpoint of an earlier attempt that verifies."""
        if not self.assignment.resumes:
            return None
        loaded = self._checkpoints.load()
        return None if loaded is None else (loaded.tensors, loaded.document)
