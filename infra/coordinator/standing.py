"""How one sweep stands: what it asks for, its state and facts, and what other commands ask of it."""

from __future__ import annotations

from collections.abc import Callable

from infra.coordinator.attempts import Attempts
from infra.coordinator.messages import StackChoice
from infra.coordinator.policy import StopCause
from infra.coordinator.trial_table import TrialTable
from infra.ledger.requeue import requeue_trial
from infra.ledger.rows import RequestRow, SweepRow
from infra.search.growth import limit_to_grids
from infra.spec import SweepSpec, extend_families
from trainers.types import Document, Json

PASSING_FACTS = frozenset({"stopping", "stop_cause", "lanes", "claim", "sick_nodes"})  # of one driver


class SweepStanding:
    """The sweep's row as it changes. What is to be written goes into the attempts' batch."""

    def __init__(
        self,
        sweep: SweepRow,
        spec: SweepSpec,
        role: str,
        book: TrialTable,
        attempts: Attempts,
        clock: Callable[[], float],
    ) -> None:
        """Takes the ledger's row; nobody has asked for an end yet."""
        self.sweep, self.spec, self.role = sweep, spec, role
        self._book, self._attempts, self._clock = book, attempts, clock
        self.state = "running"
        self.stopping: str | None = None
        self._stop_cause = StopCause.REQUEST

    @property
    def is_ending(self) -> bool:
        """Whether nothing more is to begin."""
        return self.stopping is not None or self.state != "running"

    def begin_session(self, *, same_driver: bool) -> None:
        """Goes on from the facts: those of a driver hold as long as it lives."""
        facts = self.sweep.facts
        if self.sweep.state != "running" and self.role == "search":
            self._attempts.batch.sweep["state"] = "running"
        if same_driver:
            self.stopping = facts.get("stopping")
            self._stop_cause = StopCause(facts.get("stop_cause", StopCause.REQUEST))
        elif passing := PASSING_FACTS & facts.keys():  # nodes, too, may be mended by now
            for name in passing:
                del facts[name]
            self.set_facts()
        told: Document = {"role": self.role, "same_driver": same_driver}
        self._attempts.batch.add_event("session", self._clock(), told)

    def set_facts(self, **facts: Json) -> None:
        """Changes some of the sweep's facts."""
        self.sweep.facts.update(facts)
        self._attempts.batch.sweep["facts"] = self.sweep.facts

    def update_facts(self, **facts: Json) -> None:
        """As `set_facts`; what is known already is not written again."""
        if any(self.sweep.facts.get(name) != fact for name, fact in facts.items()):
            self.set_facts(**facts)

    def note_stack_choice(self, choice: StackChoice) -> None:
        """How a lane trains a structure's trials."""
        told = {"width": choice.width, "gain": choice.gain, "reason": choice.reason}
        known: Document = self.sweep.facts.get("stacks", {})
        family = {**known.get(choice.family, {}), choice.structure: told}
        self.set_facts(stacks={**known, choice.family: family})
        told = {"family": choice.family, "structure": choice.structure, **told}
        self._attempts.batch.add_event("stack", self._clock(), told)

    def request_stop(self, why: str, cause: StopCause = StopCause.REQUEST) -> None:
        """Nothing more begins, and lanes are told to leave; the first who asks is the one who is named."""
        if self.stopping is None:
            self.stopping, self._stop_cause = why, cause
            # For a coordinator that follows this one under the same driver.
            self.set_facts(stopping=why, stop_cause=cause)

    def conclude_stop(self) -> None:
        """The sweep has stopped."""
        if self.state == "running":
            state = "finished" if self._stop_cause is StopCause.BUDGET else "stopped"
            self._set_state(state, self.stopping or "")

    def conclude(self) -> None:
        """Every trial has ended."""
        succeeded = any(trial.state == "complete" for trial in self._book.all_trials())
        self._set_state("finished" if succeeded else "failed", "")

    def answer_request(self, request: RequestRow) -> None:
        """Does what another command asks."""
        if request.kind == "stop":
            self.request_stop("asked to stop by another command")
        elif request.kind == "extend":
            self._extend_families(request.payload)
        elif request.kind == "retry":
            self._retry_failed(request.payload)
        self._attempts.batch.requests_done.append(request.id)

    def _extend_families(self, payload: Document) -> None:
        self.spec = limit_to_grids(extend_families(self.spec, payload))
        for family in self.spec.families:
            self._book.set_quota(family.name, family.trials)
        self._attempts.batch.sweep["spec"] = self.spec
        told = {"families": {family.name: family.trials for family in self.spec.families}}
        self._attempts.batch.add_event("grown", self._clock(), told)

    def _retry_failed(self, payload: Document) -> None:
        for trial in self._book.all_trials():
            if trial.state == "failed":
                requeue_trial(trial, payload.get("resources"))
                self._book.queue(trial)
                self._attempts.batch.add_event("retry", self._clock(), payload, trial)

    def _set_state(self, state: str, why: str) -> None:
        self.state = state
        if self.role == "search":
            self._attempts.batch.sweep.update({"state": state, "updated_at": self._clock()})
        told: Document = {"state": state, "why": why, "role": self.role}
        self._attempts.batch.add_event("concluded", self._clock(), told)
