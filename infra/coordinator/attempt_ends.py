"""How attempts end: as their lanes say, or with their lanes. What of it is a trial's own fault is charged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from infra.coordinator.attempts import Attempts
from infra.coordinator.messages import AttemptResult, EpochReport, LaneHandshake
from infra.coordinator.sick_lanes import NODE_LEFT, SickLanes
from infra.gpus.sharing import ALONE, SHARED_FULL, GpuSharing
from infra.ledger.rows import storable_text


class AttemptEnds:
    """Judges whose fault an end is: the trial's, its stack's, its lane's or that of who shares its GPU."""

    def __init__(
        self,
        attempts: Attempts,
        sick: SickLanes,
        sharing: GpuSharing,
        clock: Callable[[], float],
        starved: Callable[[LaneHandshake], bool],
    ) -> None:
        """Has heard of no end yet.

        Args:
            starved: whether a process that is gone was ended because memory ran out.
        """
        self._attempts, self._sick, self._sharing, self._clock = attempts, sick, sharing, clock
        self._starved = starved

    def end(self, ended: AttemptResult, lane: str, reports: Sequence[EpochReport] = ()) -> None:
        """See `SickLanes.end_attempt`. One that failed since a GPU that it shared was full is tried once more
        with a GPU for itself, and not charged: a neighbour may have taken what it lacked.

        Args:
            reports: of the attempt, those that may not have arrived.
        """
        self._attempts.record_reports(ended.attempt, lane, reports)
        self._note_use(ended)
        running, use = self._attempts.running.get(ended.attempt), ended.gpu
        lacked = use is not None and use.full and use.lanes > 1 and ended.outcome == "failed"
        mine = running is not None and running.lane == lane and self._sharing.shares(running.trial.family)
        if running is not None and mine and lacked and not (running.trial.origin or {}).get(ALONE):
            running.trial.origin = {**(running.trial.origin or {}), ALONE: True}
            self._attempts.return_to_waiting(running, SHARED_FULL, storable_text(ended.detail))
            return
        self._sick.end_attempt(ended, lane)

    def end_of_any_rank(self, ended: AttemptResult, reports: Sequence[EpochReport]) -> None:
        """As `end`, from a process that may not be its lane's first. Where the attempt is a stack's, any
        member may be at fault."""
        running = self._attempts.running.get(ended.attempt)
        if running is None:
            return
        together = self._attempts.on_lane(running.lane)
        if len(together) > 1 and ended.fault is None:
            self._attempts.record_reports(ended.attempt, running.lane, reports)
            self._attempts.break_stack(together, ended.reason, ended.detail)
        else:
            self.end(ended, running.lane, reports)

    def fail_lane(self, lane: str, why: str, process: LaneHandshake | None) -> None:
        """The lane's process is gone, and what it trained with it."""
        together, reason = self._attempts.on_lane(lane), "worker-died"
        self._attempts.forget_lane(lane)
        if process is not None and self._sick.is_leaving(process):
            for running in together:
                self._attempts.return_to_waiting(running, NODE_LEFT, why)
            return
        killed = bool(together) and process is not None and self._starved(process)
        if killed:
            reason, why = "out-of-memory", "its process was ended since memory ran out"
        if len(together) > 1:
            self._attempts.break_stack(together, reason, why)
            return
        for running in together:
            self._attempts.fail_attempt(running, reason, why, killed=killed)

    def _note_use(self, ended: AttemptResult) -> None:
        family = self._attempts.find_family(ended.attempt)
        if family is not None:
            through = ended.outcome in {"complete", "pruned"}
            told = self._sharing.note_use(family, ended.gpu, ended.seconds, ended=through)
            if told is not None:
                self._attempts.batch.add_event("gpu-lanes", self._clock(), told)
