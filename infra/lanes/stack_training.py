"""Members trained one after another, behind the interface of a stack."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainers.data.dataset import EncodedDataset
    from trainers.job import Hooks, Job, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
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
    from trainers.loop.training import train

    todo: list[Member] = list(members)
    while todo:
        member = todo.pop(0)
        try:
            ended(member, train(member.job, encoded, member.hooks))
        except Exception as error:
            ended(member, error)
        if not todo and (more := refill()) is not None:
            todo.append(more)
