"""A stack in a lane: attempts of one structure, trained as one program, from the first until none is left.

Members come and go: who ends is told with the question for more, and whoever is handed out takes a free
place. Where memory does not suffice the stack goes on at half its width. Knows nothing of Ray.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from infra.coordinator.messages import Assignment, AttemptResult, EpochReport, StackRequest
from infra.coordinator.policy import kept_model_count, signed_value
from infra.coordinator.process_faults import find_process_fault
from infra.errors import StorageUnavailable
from infra.lanes.attempt import AttemptRunner
from infra.lanes.attempt_hooks import AttemptHooks
from infra.lanes.channel import StackChannel
from infra.lanes.stack_hooks import MemberLogs, StackHooks
from infra.mirror import publish
from infra.storage.checkpoints import CheckpointStore

if TYPE_CHECKING:
    from trainers.data.dataset import EncodedDataset
    from trainers.job import Outcome
    from trainers.stacking.training import Member

_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Seat:
    """One member: its attempt, what it says, and what the stack's time was when it came.

    Attributes:
        ended: its outcome or the error that ended it; None while it is under way.
    """

    assignment: Assignment
    hooks: AttemptHooks
    store: CheckpointStore
    member: Member
    log: Path
    came_at: float
    ended: Outcome | BaseException | None = None
    left_at: float = 0.0


@dataclass(slots=True)
class _Share:
    """Seconds that each member under way has had of the stack's time."""

    clock: Callable[[], float] = time.monotonic
    passed: float = 0.0
    members: int = 0
    _counted_to: float = field(default=0.0)

    def change(self, by: int) -> float:
        """So many more members from now on; gives what one has had so far."""
        now = self.clock()
        if self.members:
            self.passed += (now - self._counted_to) / self.members
        self._counted_to, self.members = now, self.members + by
        return self.passed


class StackRun:
    """Trains one structure's attempts until the coordinator has no more of them for this lane."""

    def __init__(
        self, runner: AttemptRunner, line: StackChannel, width: int, log_of: Callable[[Assignment], Path]
    ) -> None:
        """Nobody is in yet.

        Args:
            width: how many are trained at once at most; narrower where memory does not suffice.
            log_of: where an attempt's prints go.
        """
        self._runner, self._line, self.width, self._log_of = runner, line, width, log_of
        self.room = width  # how many have room, as far as is known by now
        self.hooks, self.logs = StackHooks(line), MemberLogs()
        self._seats: list[_Seat] = []  # under way, or ended and not told yet
        self._waiting: deque[_Seat] = deque()
        self._share = _Share()
        self._encoded: EncodedDataset | None = None
        self._is_dry = False
        self._kept: list[float] = []

    def run(self, assignments: Sequence[Assignment]) -> None:
        """Trains these and all that come after them; every end is told."""
        self._structure = assignments[0]
        for assignment in assignments:
            self._seat(assignment)
        self._list_logs()
        while self._waiting or self._ask():
            self._train()
        self._tell(limit=0)

    def _train(self) -> None:
        from trainers.stacking.training import train_stack

        began = [self._waiting.popleft().member for _ in range(min(self.width, len(self._waiting)))]
        while len(began) < self.width and (member := self._refill()) is not None:
            began.append(member)
        assert self._encoded is not None
        try:
            with self._runner.route_stack(self._structure):
                train_stack(began, self._encoded, refill=self._refill, ended=self._end, width=self.width)
        except Exception as error:  # of all of them together: whose it is shows where each is alone
            self._break(error)
        finally:
            self._runner.free_memory()

    def _break(self, error: Exception) -> None:
        """Those under way go on from their checkpoints in a smaller stack; one alone has failed."""
        if find_process_fault(error) is not None:  # whoever is alone with it would fail as well
            raise error
        left = [seat for seat in self._seats if seat.ended is None and seat not in self._waiting]
        if len(left) == 1 or self.width == 1:
            for seat in left[:1]:
                self._end(seat.member, error)
            left = left[1:]
        else:
            is_memory = self._runner.describe_failure(self._structure, error).reason == "out-of-memory"
            narrower = max(1, min(self.width, len(left)) // 2) if is_memory else 1
            _log.warning("a stack of %d goes on as %d: %s", len(left), narrower, error)
            self.width = self.room = narrower
        for seat in left:
            seat.hooks.resumes = True
        self._waiting.extendleft(reversed(left))

    # -- members come --------------------------------------------------------------------------------

    def _seat(self, assignment: Assignment) -> None:
        from trainers.stacking.training import Member

        store = CheckpointStore(
            self._runner.jobs.checkpoint_folder(assignment), keep=self._runner.spec.keep_checkpoints
        )
        hooks = AttemptHooks(assignment, self._line, store)
        job, alone = self._runner.jobs.make_job(assignment), self._runner.route_member(assignment)
        member = Member(job=job, hooks=hooks, alone=alone)
        self._encoded = self._encoded or self._runner.jobs.encode(member.job)
        seat = _Seat(
            assignment=assignment, hooks=hooks, store=store, member=member, log=self._log_of(assignment),
            came_at=self._share.change(1),
        )  # fmt: skip
        if assignment.stack_limit is not None:
            self.width = max(1, min(self.width, assignment.stack_limit))
        self._seats.append(seat)
        self._waiting.append(seat)
        self.hooks.enter(hooks)

    def _refill(self) -> Member | None:
        """The next member for a free place, if there is one."""
        if self._waiting or self._ask():
            return self._waiting.popleft().member
        return None

    def _ask(self) -> bool:
        """Tells who has ended and asks for as many. False: there are none."""
        done = [seat for seat in self._seats if seat.ended is not None]
        if self._is_dry and not done:
            return False
        self._tell(limit=self.width - (len(self._seats) - len(done)))
        return bool(self._waiting)

    # -- members go --------------------------------------------------------------------------------

    def _end(self, member: Member, ended: Outcome | Exception) -> None:
        seat = next(seat for seat in self._seats if seat.member is member)
        seat.ended, seat.left_at = ended, self._share.change(-1)

    def _tell(self, *, limit: int) -> None:
        """Tells the ends that were not told yet, the best first: others' models need not be kept then."""
        from trainers.job import Outcome

        def rank(seat: _Seat) -> float:
            goal = self._runner.spec.objectives[0]
            known = isinstance(seat.ended, Outcome) and seat.ended.values
            return -signed_value(goal, seat.ended.values[0]) if known else 0.0  # type: ignore[union-attr]

        done = sorted((seat for seat in self._seats if seat.ended is not None), key=rank)
        results = {seat.assignment.attempt: self._conclude(seat) for seat in done}
        told = [results[seat.assignment.attempt] for seat in self._seats if seat.ended is not None]
        reports: dict[str, list[EpochReport]] = {
            seat.assignment.attempt: seat.hooks.take_undelivered() for seat in done
        }
        self._seats = [seat for seat in self._seats if seat.ended is None]
        first = self._structure
        request = StackRequest(
            family=first.family, structure=first.structure or "", limit=max(0, limit),
            holding=frozenset(seat.assignment.attempt for seat in self._seats),
        )  # fmt: skip
        work = self._line.refill_stack(request, told, reports)
        for seat in done:
            self.hooks.leave(seat.hooks)
        for assignment in work.attempts:
            self._seat(assignment)
        self._list_logs()
        self._is_dry = not work.attempts

    def _conclude(self, seat: _Seat) -> AttemptResult:
        """What a member's end comes to. Its checkpoints go unless it may go on from them."""
        self.hooks.note_step()
        assert seat.ended is not None
        try:
            if isinstance(seat.ended, BaseException):
                raise seat.ended
            result = self._runner.conclude(self._limit_kept(seat.assignment), seat.ended)
            if result.model is not None:
                self._kept.append(signed_value(self._runner.spec.objectives[0], result.objective[0]))
        except (Exception, SystemExit) as error:
            result = self._runner.describe_failure(seat.assignment, error)
            with seat.log.open("a", encoding="utf-8", errors="replace") as log:
                log.write(f"{result.detail}\n")
        with contextlib.suppress(StorageUnavailable):  # what was printed is no reason to stop
            publish(seat.log)
        if result.outcome in {"complete", "pruned"}:
            with contextlib.suppress(OSError, StorageUnavailable):
                seat.store.delete()
                seat.store.folder.parent.rmdir()  # where nothing else, no kept model, is in it
        return replace(
            result, seconds=seat.left_at - seat.came_at, facts={**result.facts, "stack": self.width}
        )

    def _limit_kept(self, assignment: Assignment) -> Assignment:
        """The assignment with the bar that a model must pass by now: models of the stack were kept since."""
        count = kept_model_count(self._runner.spec.keep_models)
        if count is None or assignment.role != "search" or len(self._kept) < count:
            return assignment
        bar = sorted(self._kept, reverse=True)[count - 1]
        former = assignment.keep_above
        return replace(assignment, keep_above=bar if former is None else max(bar, former))

    def _list_logs(self) -> None:
        self.logs.paths = tuple(seat.log for seat in self._seats)
