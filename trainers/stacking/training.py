"""Training a stack: members of one structure, each an attempt of its own, as one program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trainers.data.dataset import EncodedDataset
from trainers.job import Hooks, Job, Outcome
from trainers.loop.training import train


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One trial's attempt, as `trainers.loop.training.train` takes it."""

    job: Job
    hooks: Hooks


def train_stack(
    members: Sequence[Member],
    encoded: EncodedDataset,
    *,
    refill: Callable[[], Member | None],
    ended: Callable[[Member, Outcome | Exception], None],
    width: int,
) -> None:
    """Trains the members, and those that `refill` gives, until none is left.

    Args:
        members: of one `structure_key`, at most `width` of them.
        encoded: the data that all of them read.
        refill: another member of the structure for a free place, or None; asked between reports.
        ended: called once for each member, with its outcome or with what ended it.
        width: how many are trained at once.

    Raises:
        OutOfMemory: the stack as a whole had no room; members that have not ended go on from checkpoints.
    """
    waiting = list(members)
    while waiting:
        member = waiting.pop(0)
        found: Outcome | Exception
        try:
            found = train(member.job, encoded, member.hooks)
        except Exception as error:  # the member's own end, which its neighbours do not share
            found = error
        ended(member, found)
        if not waiting and (more := refill()) is not None:
            waiting.append(more)
