"""What a stack's steps are made of: the batches of all members.

Shape legend: F rows (members, and copies that fill the width up), B examples of a batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from trainers.data.batches import IGNORED, Batches
from trainers.inputs.vocabulary import PAD
from trainers.loop.attempt import Attempt
from trainers.stacking.seats import Seat
from trainers.types import Batch


class StackFeed:
    """Batches of the training part, each member's in its own order."""

    def __init__(self, first: Attempt) -> None:
        """Has gathered nothing.

        Args:
            first: any member: of its structure are all.
        """
        self._like = first
        self._source: Batches = first.parts["train"]

    def groups(self, members: Sequence[Seat], steps: int) -> Iterator[tuple[list[Tensor], int]]:
        """The positions of each step's batches, [F, B] each, and the step's examples."""
        feed = self._like.feed
        size, total = feed.batch_size, len(self._source)
        at = [seat.attempt.progress.step for seat in members]
        within = at[0] % feed.steps_per_epoch
        made = 0
        while made < steps:
            epochs = [(step + made) // feed.steps_per_epoch for step in at]
            order = torch.stack([s.positions(e) for s, e in zip(members, epochs, strict=True)])
            for step in range(within, min(feed.steps_per_epoch, within + steps - made)):
                first = step * feed.accumulate * size
                last = min(first + feed.accumulate * size, total)
                yield [order[:, at : min(at + size, last)] for at in range(first, last, size)], last - first
                made += 1
            within = 0

    def gather(self, members: Sequence[Seat], positions: Tensor) -> tuple[Batch, bool]:
        """The batch of all members, [F, B, …] each; or [B, …], and true, where they share it."""
        rows, size = positions.shape
        whole = self._like.job.params["batch_size"] == "all"
        if whole:
            batch = self._source.gather_all()
            parts = [batch] * rows
        else:
            flat = self._source.gather(positions.reshape(-1))
            batch = {name: values.view(rows, size, *values.shape[1:]) for name, values in flat.items()}
            parts = [{name: values[0] for name, values in batch.items()}]
        first = self._augment(members[0], parts[0])
        if first is parts[0]:
            return batch, whole
        if not whole:
            parts = [{name: values[row] for name, values in batch.items()} for row in range(rows)]
        changed = {id(members[0]): first}
        for seat, part in zip(members, parts, strict=True):
            if id(seat) not in changed:
                changed[id(seat)] = self._augment(seat, part)
        return {n: _stack_padded(n, [changed[id(seat)][n] for seat in members]) for n in first}, False

    def _augment(self, seat: Seat, batch: Batch) -> Batch:
        return self._like.job.family.augment(batch, seat.params, seat.attempt.generator)


def _stack_padded(name: str, parts: Sequence[Tensor]) -> Tensor:
    """[F, B, …]; tokens are filled up to the longest of all members."""
    longest = max(part.shape[1] if part.ndim > 1 else 0 for part in parts)
    if parts[0].is_floating_point() or all(part.ndim < 2 or part.shape[1] == longest for part in parts):
        return torch.stack(list(parts))
    fill = IGNORED if name == "target" else PAD
    return torch.stack([nn.functional.pad(part, (0, longest - part.shape[1]), value=fill) for part in parts])
