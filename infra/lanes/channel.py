"""What a lane says to its coordinator, whatever carries it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from infra.coordinator.messages import (
    AttemptReports,
    AttemptResult,
    EpochReport,
    HeartbeatReply,
    LaneWork,
    StackChoice,
    StackHeartbeatReply,
    StackRequest,
)
from infra.lanes.attempt_functions import RunSource


class StackChannel(Protocol):
    """The lane's line to its coordinator, for a stack and for each of its members."""

    def decide(self, attempt: str, reports: list[EpochReport]) -> bool:
        """See `Coordinator.decide`."""

    def heartbeat(self, attempt: str | None, reports: list[EpochReport]) -> HeartbeatReply:
        """See `Coordinator.heartbeat`."""

    def heartbeat_stack(self, reports: AttemptReports) -> StackHeartbeatReply:
        """See `Coordinator.heartbeat_stack`."""

    def refill_stack(
        self, request: StackRequest, ended: Sequence[AttemptResult], reports: AttemptReports
    ) -> LaneWork:
        """See `Coordinator.refill_stack`."""


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
