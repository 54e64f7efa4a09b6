"""Which trial a lane trains next: one that waits, else one that is asked for now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypedDict

from infra.coordinator import policy
from infra.coordinator.attempts import Attempts
from infra.coordinator.messages import Assignment, LaneHandshake, LaneWork, StackRequest
from infra.coordinator.questions import TrialQuestions
from infra.coordinator.sick_lanes import SickLanes
from infra.coordinator.standing import SweepStanding
from infra.coordinator.trial_needs import TrialNeeds
from infra.coordinator.trial_table import STACK_LIMIT, TrialTable, stack_limit
from infra.ledger.rows import TrialRow
from infra.search.pruners import deciding_reports, pruner_options
from infra.spec import FamilySpec
from trainers.types import Params

IDLE_WAIT_S = 0.25


class _Earlier(TypedDict):
    earlier: Mapping[int, Mapping[str, float]]
    earlier_seconds: float


class WorkDesk:
    """Hands trials to lanes."""

    def __init__(
        self,
        standing: SweepStanding,
        book: TrialTable,
        attempts: Attempts,
        questions: TrialQuestions,
        needs: TrialNeeds,
        sick: SickLanes,
        structure_of: Callable[[FamilySpec, Params], str | None],
    ) -> None:
        """Has nothing to ask ahead.

        Args:
            structure_of: the structure of a family's parameters; trials of the same may be one stack. None:
                alone.
        """
        self._standing, self._book, self._attempts = standing, book, attempts
        self._questions, self._needs, self._sick = questions, needs, sick
        self._structure_of = structure_of
        self._ask_due: list[str] = []  # shapes for which a trial is to be asked ahead

    def ask_ahead(self) -> bool:
        """Asks for the trials that are due to be asked for; whether there were any."""
        due, self._ask_due = self._ask_due, []
        for shape in due:
            self._questions.ask_next(self._standing.spec, shape)
        return bool(due)

    def plan_first_questions(self) -> None:
        """The first questions are asked while lanes come up: they load Optuna's and SciPy's modules."""
        demand = self._needs.find_demand(self._standing.spec)
        self._ask_due = [s for s in demand if not self._book.has_fresh(self._needs.shape_filter(s))]

    def next_work(self, hello: LaneHandshake) -> LaneWork:
        """What the lane does next, which trains nothing now."""
        if self._standing.is_ending:
            return LaneWork(leave=True)
        lost = self._attempts.on_lane(hello.lane)  # the answer to an earlier call was lost on its way
        if lost:
            return LaneWork(attempts=tuple(self._make_assignment(one.trial, one.attempt) for one in lost))
        if not self._sick.takes_more(hello):
            return LaneWork(leave=True)
        fits = self._needs.shape_filter(hello.shape)
        self._attempts.paused.resume_one(fits)
        trial = self._book.take_waiting(fits)
        if trial is None and self._questions.ask_next(self._standing.spec, hello.shape):
            trial = self._book.take_waiting(fits)
        if trial is None:
            self.settle_paused()
            busy = any(fits(running.trial) for running in self._attempts.running.values())
            return LaneWork(wait_s=IDLE_WAIT_S) if busy else LaneWork(leave=True)
        return LaneWork(attempts=(self._start_attempt(trial, hello),))

    def has_more(self, hello: LaneHandshake) -> bool:
        """Whether trials of the lane's shape are left for another process of it."""
        return hello.shape in self._needs.find_demand(self._standing.spec) and not self._standing.is_ending

    def fill_stack(self, hello: LaneHandshake, request: StackRequest) -> LaneWork:
        """More trials for the stack that the lane trains."""
        fits, found = self._stack_filter(hello.shape, request), list[Assignment]()
        for running in self._attempts.on_lane(hello.lane):
            if running.attempt not in request.holding:  # the answer to an earlier call was lost on its way
                found.append(self._make_assignment(running.trial, running.attempt))
        takes_more = self._sick.takes_more(hello) and not self._standing.is_ending
        share = self._needs.fair_share(self._standing.spec, hello.shape) if takes_more else 0
        places = min(request.limit, share - len(request.holding))
        while len(found) < places:
            self._attempts.paused.resume_one(fits)
            trial = self._book.take_waiting(fits)
            if trial is None and self._asks_for_stack(hello.shape, request):
                trial = self._book.take_waiting(fits)
            if trial is None:
                break
            found.append(self._start_attempt(trial, hello))
        return LaneWork(attempts=tuple(found))

    def settle_paused(self) -> None:
        """Ends trials that wait at a rung where nothing more can come to it."""
        if self._standing.is_ending:
            return
        for name in {trial.family for trial in self._book.paused_trials()}:
            if not self._book.count_to_ask(name) and not self._book.moving_trials(name):
                self._attempts.paused.end_all(name)

    def _asks_for_stack(self, shape: str, request: StackRequest) -> bool:
        """Asks for one more trial, unless one of another structure is next in the family's line."""
        in_shape = self._needs.shape_filter(shape)
        other = self._book.has_fresh(lambda trial: trial.family == request.family and in_shape(trial))
        return not other and self._questions.ask_for_stack(self._standing.spec, shape, request.family)

    def _stack_filter(self, shape: str, request: StackRequest) -> Callable[[TrialRow], bool]:
        """Trials that fit beside those that a lane has; one whose stack ended its lane fits a small one."""
        in_shape, held = self._needs.shape_filter(shape), len(request.holding)

        def fits(trial: TrialRow) -> bool:
            if trial.family != request.family or not in_shape(trial):
                return False
            small = held + request.limit <= stack_limit(trial)
            return small and self._find_structure(trial) == request.structure

        return fits

    def _find_structure(self, trial: TrialRow) -> str | None:
        family = self._standing.spec.family(trial.family)
        if family.stack in (None, "off") or stack_limit(trial) < 2:
            return None
        return self._structure_of(family, trial.params)

    def _start_attempt(self, trial: TrialRow, hello: LaneHandshake) -> Assignment:
        sweep = self._standing.sweep.id
        attempt = f"{sweep}-{trial.role}-{trial.family}-{trial.number}-{trial.attempts + 1}"
        self._attempts.start(trial, hello, attempt)
        fresh = self._book.has_fresh(self._needs.shape_filter(hello.shape))
        if not fresh and hello.shape not in self._ask_due:
            self._ask_due.append(hello.shape)
        return self._make_assignment(trial, attempt)

    def _make_assignment(self, trial: TrialRow, attempt: str) -> Assignment:
        spec = self._standing.spec
        family, confirming = spec.family(trial.family), trial.role == "confirm"
        having = self._book.trials_with_model(trial.family)
        return Assignment(
            attempt=attempt, role=trial.role, family=trial.family, number=trial.number,
            ordinal=trial.attempts, params=trial.params, seed=trial.seed, read_test=confirming,
            resumes=trial.attempts > 1,
            deciding=() if confirming else deciding_reports(family.pruner, family.budget.reports),
            keep_above=(
                None if confirming else policy.keep_threshold(spec.objectives[0], spec.keep_models, having)
            ),
            pauses=not confirming and pruner_options(family.pruner).pauses,
            structure=self._find_structure(trial), stack_limit=(trial.origin or {}).get(STACK_LIMIT),
            companions=self._book.count_left(family.name),
            **self._earlier_attempts(family, attempt),
        )  # fmt: skip

    def _earlier_attempts(self, family: FamilySpec, attempt: str) -> _Earlier:
        running = self._attempts.running[attempt]
        own_code = ":" in family.reference  # ours resume from a checkpoint, or begin again
        return {
            "earlier": dict(running.reports) if own_code else {},
            "earlier_seconds": running.seconds_before,
        }
