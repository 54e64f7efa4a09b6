"""Lanes that leave before their work is done: those at fault for what fails on them, and those whose node
will soon be gone. None of that is charged to a trial."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping

from infra.coordinator.attempts import Attempts
from infra.coordinator.lane_health import LaneHealth, SickLane, may_spare, node_of, nodes_of, note_spoilt
from infra.coordinator.lane_table import LaneTable, run_of_lane
from infra.coordinator.messages import AttemptResult, LaneHandshake
from infra.coordinator.trial_table import TrialTable
from infra.ledger.requeue import requeue_trial
from infra.ledger.rows import storable_text
from trainers.loop.device_memory import gibibytes
from trainers.types import Document

LANE_SICK = "lane-sick"  # the outcome of an attempt that its lane spoilt, and the event
NODE_LEFT = "node-left"  # the outcome of an attempt whose node went before it had ended
_log = logging.getLogger(__name__)


class SickLanes:
    """Takes the ends of attempts, and ends lanes that these show to be spoilt."""

    def __init__(
        self,
        attempts: Attempts,
        roster: LaneTable,
        book: TrialTable,
        clock: Callable[[], float],
        facts: Document,
        set_facts: Callable[..., None],
    ) -> None:
        """Suspects nobody.

        Args:
            facts: the sweep's, as they stand.
            set_facts: changes some of them.
        """
        self._attempts, self._roster, self._book, self._clock = attempts, roster, book, clock
        self._facts, self._set_facts = facts, set_facts
        self._health = LaneHealth()
        self._left_out: frozenset[str] = frozenset()
        self._dismissed: frozenset[str] = frozenset()
        self._leaving: frozenset[str] = frozenset()

    def leave_out(self, nodes: Collection[str]) -> None:
        """Lanes on these nodes, and on no others, end what they train and take nothing more."""
        self._left_out = frozenset(nodes)

    def dismiss(self, runs: Collection[str]) -> None:
        """Lanes of these runs end what they train and take nothing more."""
        self._dismissed |= set(runs)

    def evacuate(self, nodes: Collection[str]) -> None:
        """These nodes will soon be gone: lanes there write checkpoints and leave."""
        self._leaving |= set(nodes)

    def is_leaving(self, hello: LaneHandshake) -> bool:
        """Whether a node of the lane's will soon be gone, or is."""
        return bool(nodes_of(hello) & self._leaving)

    def count_by_node(self) -> Mapping[str, int]:
        """How many lanes of each node were sick."""
        known: Document = self._facts.get("sick_nodes", {})
        return {node: told["times"] for node, told in known.items()}

    def takes_more(self, hello: LaneHandshake) -> bool:
        """Whether the lane gets more trials: not on a node that is left out or leaves, nor in a run that is
        dismissed."""
        return (
            not nodes_of(hello) & (self._left_out | self._leaving)
            and run_of_lane(hello.lane) not in self._dismissed
        )

    def note_pruned(self, hello: LaneHandshake, attempt: str) -> None:
        """The pruner has ended an attempt: its lane works."""
        self._health.note_success(hello, self._attempts.family_of(attempt))

    def note_held_memory(self, hello: LaneHandshake, held_bytes: int) -> None:
        """The lane's process holds memory of its GPU that no trial has, and ends itself for that."""
        told: Document = {"lane": hello.lane, "host": hello.host, "held_bytes": held_bytes}
        self._attempts.batch.add_event("gpu-held", self._clock(), told)
        _log.warning(
            "lane %s on %s is replaced: after its last trial its process holds %s of its GPU",
            hello.lane, hello.host, gibibytes(held_bytes),
        )  # fmt: skip

    def end_attempt(self, ended: AttemptResult, lane: str) -> None:
        """See `Attempts.end_attempt`."""
        running, process = self._attempts.running.get(ended.attempt), self._roster.holder(lane)
        if running is None or running.lane != lane or process is None:
            self._attempts.end_attempt(ended, lane)
            return
        trial = running.trial
        if ended.fault is not None and may_spare(trial):
            self._replace(SickLane(process=process, trials=()), ended.fault.words, ended.detail)
            return
        self._attempts.end_attempt(ended, lane, stopped=NODE_LEFT if self.is_leaving(process) else "stopped")
        if trial.state == "complete":
            self._health.note_success(process, trial.family)
        elif ended.reason == "error" and may_spare(trial):
            self._health.note_error(process, trial)
        for sick in self._health.find_sick():
            why = f"the last {len(sick.trials)} trials failed on it, and others of their family succeed"
            self._replace(sick, why, why)

    def _replace(self, sick: SickLane, why: str, detail: str) -> None:
        process, now = sick.process, self._clock()
        if self._roster.holder(process.lane) == process:
            for running in self._attempts.on_lane(process.lane):
                note_spoilt(running.trial)
                self._attempts.return_to_waiting(running, LANE_SICK, storable_text(detail))
        for trial in (trial for trial in sick.trials if trial.state == "failed"):
            requeue_trial(trial, None)
            note_spoilt(trial)
            self._book.queue(trial)
            self._attempts.batch.add_event("retry", now, {"lane": process.lane, "why": why}, trial)
        self._health.forget(process)
        self._roster.give_up(process)
        node, known = node_of(process), dict(self._facts.get("sick_nodes", {}))
        told = {"host": process.host, "why": why, "times": known.get(node, {}).get("times", 0) + 1}
        self._set_facts(sick_nodes={**known, node: told})
        self._attempts.batch.add_event(LANE_SICK, now, {"lane": process.lane, "node": node, **told})
        _log.warning("lane %s on %s is replaced: %s", process.lane, process.host, why)
