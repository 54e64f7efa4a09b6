"""Training a stack: members of one structure, each an attempt of its own, as one program.

All that is around a member's steps is its attempt's, as by itself; only the steps, and the reading of the
validation part, are made for all at once.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch

from trainers.data.dataset import EncodedDataset
from trainers.job import Hooks, Job, Outcome
from trainers.loop import randomness
from trainers.loop.attempt import Attempt
from trainers.loop.energy import read_energy
from trainers.loop.memory import catch_out_of_memory, is_out_of_memory, restart_peak
from trainers.loop.micro_batches import PartSources
from trainers.loop.training import complete_job
from trainers.stacking.evaluation import evaluate_stack, judges_plainly
from trainers.stacking.seats import Seat
from trainers.stacking.stack import Stack

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One trial's attempt, as `trainers.loop.training.train` takes it.

    Attributes:
        alone: makes what this member's own code is run in, apart from what is run for all members at once.
    """

    job: Job
    hooks: Hooks
    alone: Callable[[], AbstractContextManager[None]] = nullcontext


Refill = Callable[[], Member | None]
Ended = Callable[[Member, Outcome | Exception], None]


def train_stack(
    members: Sequence[Member], encoded: EncodedDataset, *, refill: Refill, ended: Ended, width: int
) -> None:
    """Trains the members, and those that `refill` gives, until none is left.

    What the process had (flags, threads, states of random generators) is given back at the end.

    Args:
        members: of one `structure_key`.
        encoded: the data that all of them read.
        refill: another member of the structure for a free place, or None; asked between reports.
        ended: called once for each member, with its outcome or with what ended it.
        width: how many are trained at once.

    Raises:
        OutOfMemory: the stack as a whole had no room. Members that have not ended have written a checkpoint.
    """
    if not members:
        return
    job = members[0].job
    with randomness.fix_torch_flags(job.threads), catch_out_of_memory(job.device):
        run = _StackRun(members, encoded, refill, ended, width)
        restart_peak(torch.device(job.device))
        run.run()


class _ShareClock:
    """Seconds, or joules, of which each member has its share."""

    def __init__(self, whole: Callable[[], float] = time.monotonic) -> None:
        self.members, self._whole = 1, whole
        self._total, self._last = 0.0, whole()

    def __call__(self) -> float:
        now = self._whole()
        self._total += (now - self._last) / max(1, self.members)
        self._last = now
        return self._total


class _StackRun:
    """Members that come and go, and the stack of those that make their steps together."""

    def __init__(
        self, members: Sequence[Member], encoded: EncodedDataset, refill: Refill, ended: Ended, width: int
    ) -> None:
        self._waiting, self._encoded = deque(members), encoded
        self._refill, self._ended, self._width = refill, ended, width
        self._parts = PartSources(encoded, members[0].job.device)
        self._clock, self._energy = _ShareClock(), _ShareClock(lambda: read_energy() or 0.0)
        self._seats: dict[int, tuple[Member, Seat]] = {}  # by the seat's id, in the order of their coming
        self._stack: Stack | None = None
        self._stackable = width > 1
        self._cost: dict[str, float] | None = None

    def run(self) -> None:
        """Until nobody is left."""
        self._admit()
        while self._seats:
            together, alone = self._divide()
            if together:
                self._train_together(together)
            for seat in alone:
                self._train_alone(seat)
            self._dismiss()
            self._admit()

    # -- members come and go -------------------------------------------------------------------------------

    def _admit(self) -> None:
        while len(self._seats) < self._width:
            member = self._waiting.popleft() if self._waiting else self._refill()
            if member is None:
                return
            try:
                with member.alone():
                    seat = self._open(member)
            except Exception as error:  # the member's own end, which its neighbours do not share
                self._ended(member, error)
                continue
            self._seats[id(seat)] = (member, seat)
            self._clock.members = self._energy.members = len(self._seats)
            self._dismiss()

    def _open(self, member: Member) -> Seat:
        attempt = Attempt(
            complete_job(member.job), self._encoded, member.hooks, parts=self._parts, clock=self._clock,
            energy=read_energy if read_energy() is None else self._energy,
        )  # fmt: skip
        attempt.start()
        attempt.share_process()
        attempt.cost = partial(self._measure_cost, attempt)
        return Seat(attempt)

    def _measure_cost(self, attempt: Attempt) -> dict[str, float]:
        """Modules of one structure cost the same: it is measured once."""
        if self._cost is None:
            self._cost = attempt.measure_cost()
        return dict(self._cost)

    def _dismiss(self) -> None:
        """Tells of those that have ended, and lets go of them."""
        for key, (member, seat) in list(self._seats.items()):
            if not seat.is_over:
                continue
            found: Outcome | Exception
            try:
                with member.alone():
                    found = seat.failure or seat.attempt.outcome()
            except Exception as error:  # the member's own end, which its neighbours do not share
                found = error
            seat.attempt.close()
            del self._seats[key]
            self._clock.members = self._energy.members = len(self._seats)
            self._ended(member, found)

    def _divide(self) -> tuple[list[Seat], list[Seat]]:
        """Who makes the next steps together: all that are as far in their epochs. The rest make theirs by
        themselves up to their next report, after which they mostly are."""
        seats = [seat for _, seat in self._seats.values()]
        if not self._stackable or len(seats) < 2:
            return [], seats
        phases = {id(seat): seat.attempt.progress.step % seat.attempt.feed.steps_per_epoch for seat in seats}
        phase, count = Counter(phases.values()).most_common(1)[0]
        if count < 2:
            return [], seats
        return (
            [seat for seat in seats if phases[id(seat)] == phase],
            [seat for seat in seats if phases[id(seat)] != phase],
        )

    # -- turns ---------------------------------------------------------------------------------------------

    def _train_together(self, seats: Sequence[Seat]) -> None:
        stack = self._prepare(seats)
        if stack is None:
            for seat in seats:
                self._train_alone(seat)
            return
        try:
            stack.train(min(seat.attempt.target - seat.attempt.progress.step for seat in seats))
        except Exception as error:  # people's modules may raise anything; it is said again alone
            if is_out_of_memory(error):
                self._save_all(seats)
                raise
            self._give_up(stack, seats, error)
            return
        due = [
            seat for seat in seats
            if (not seat.is_over and seat.attempt.progress.step % seat.attempt.report_every == 0)
            or (not seat.is_over and seat.attempt.progress.step == seat.attempt.steps)
        ]  # fmt: skip
        self._report(stack, due)

    def _prepare(self, seats: Sequence[Seat]) -> Stack | None:
        """The stack with these members; None where they turn out not to be stackable."""
        stack = self._stack
        if stack is not None:
            stack.set_members(seats)
            return stack
        stack = Stack(seats[0].attempt, self._width)
        try:
            stack.set_members(seats)
            stack.rehearse()
        except Exception as error:  # whatever people's modules do under vmap; alone it is said again
            if is_out_of_memory(error):
                raise
            self._give_up(stack, seats, error)
            return None
        self._stack = stack
        return stack

    def _give_up(self, stack: Stack, seats: Sequence[Seat], error: Exception) -> None:
        """Whatever it was of all of them together, alone it is said again of whom it is."""
        _log.warning("trials of %s are trained one by one: %s", _name(seats[0]), error, exc_info=error)
        self._stackable, self._stack = False, None
        for seat in seats:
            stack.release(seat)

    def _save_all(self, seats: Sequence[Seat]) -> None:
        for seat in seats:
            if not seat.is_over:
                seat.attempt.save()

    def _report(self, stack: Stack, seats: Sequence[Seat]) -> None:
        """Evaluates these members and reports for each of them."""
        if not seats:
            return
        family = seats[0].attempt.job.family
        measure: Sequence[Callable[[], dict[str, float]]]
        if judges_plainly(family):
            first = seats[0].attempt
            measure = evaluate_stack(
                stack.program, stack.tensors, stack.rows_of(seats),
                self._parts["validation"], first.state, family=family, batch_size=first.judged_at_once,
                alive=partial(_report_alive, seats),
            )  # fmt: skip
        else:
            measure = [partial(seat.attempt.evaluate_part, "validation") for seat in seats]
        for seat, metrics in zip(seats, measure, strict=True):
            self._guard(seat, partial(_report_metrics, seat.attempt, metrics))

    def _train_alone(self, seat: Seat) -> None:
        """Up to the next report, as by itself."""
        if self._stack is not None:
            self._stack.release(seat)
        attempt = seat.attempt
        attempt.take_process()
        attempt.chance = None

        def turn() -> None:
            attempt.train_to_report()
            if attempt.status is None:
                _report_metrics(attempt, partial(attempt.evaluate_part, "validation"))

        self._guard(seat, turn)
        attempt.share_process()

    def _guard(self, seat: Seat, turn: Callable[[], None]) -> None:
        """What a member raises is its own end."""
        member, _ = self._seats[id(seat)]
        try:
            with member.alone():
                turn()
        except Exception as error:  # people's code may raise anything; the seat keeps it
            if is_out_of_memory(error) and len(self._seats) > 1:
                raise
            seat.failure = error


def _report_metrics(attempt: Attempt, measure: Callable[[], dict[str, float]]) -> None:
    attempt.report(attempt.compose_report(measure()))


def _report_alive(seats: Sequence[Seat]) -> None:
    for seat in seats:
        seat.attempt.report_alive()


def _name(seat: Seat) -> str:
    family = seat.attempt.job.family
    return family.name or type(family).__name__
