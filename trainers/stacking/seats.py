"""The members of a stack, and how many rows they get."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from trainers.loop.attempt import Attempt
from trainers.types import Params

_WIDTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)


@dataclass(slots=True, eq=False)
class Seat:
    """A member's attempt in a stack.

    Attributes:
        failure: what ended it; its row is computed on until the next report, and nobody reads it.
        order: the positions of the epoch that it is in, and which epoch that is.
    """

    attempt: Attempt
    failure: Exception | None = None
    order: tuple[int, Tensor] | None = field(default=None, repr=False)

    @property
    def params(self) -> Params:
        """The attempt's hyper-parameters."""
        return self.attempt.job.params

    @property
    def is_over(self) -> bool:
        """Whether it makes no more steps."""
        return self.failure is not None or self.attempt.status is not None

    def positions(self, epoch: int) -> Tensor:
        """Of each example in the order of that epoch; of the last one where no more steps are made."""
        if self.order is not None and self.is_over:
            return self.order[1]
        if self.order is None or self.order[0] != epoch:
            job = self.attempt.job
            order = self.attempt.parts["train"].batched_order(epoch, job.seed, job.params["batch_size"])
            self.order = (epoch, order)
        return self.order[1]


def fit_width(members: int, most: int) -> int:
    """How many rows so many members get: a few widths alone, so that leaving seldom changes the width."""
    return min((width for width in (*_WIDTHS, most) if width >= members), default=members)


class HasLeft(Exception):
    """In the row of a member that makes its steps by itself."""
