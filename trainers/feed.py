"""Which examples each optimizer's step takes: one order for any number of ranks and accumulated batches.

A step takes G = batch_size · ranks · accumulate examples of the epoch's order, its last step what is left.
Each micro-batch is weighted so that the mean over ranks of the summed gradients is the gradient of the mean
loss over all the step's examples, however they are cut up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from trainers.errors import InputError
from trainers.job import Ranks

if TYPE_CHECKING:
    from trainers.family import Batch


class Source(Protocol):
    """The examples of one part, as `trainers.data.batches.Batches` has them; indices count from 0 in it."""

    def __len__(self) -> int:
        """How many examples the part has."""

    def order(self, epoch: int, seed: int, batch_size: int, rank: int, world_size: int) -> Sequence[Any]:
        """This rank's indices for each batch of an epoch; rank r takes its share of the one global batch."""

    def gather(self, indices: Any) -> Batch:
        """The batch of those examples, on the device."""


@dataclass(frozen=True, slots=True)
class Micro:
    """A micro-batch: its indices, how many of them count, and the weight of its mean loss."""

    indices: Any
    examples: int
    weight: float


class Feed:
    """Groups of micro-batches, one group a step, from any step on."""

    def __init__(self, source: Source, params: Mapping[str, Any], seed: int, ranks: Ranks) -> None:
        """Reads `batch_size` and `accumulate`.

        Raises:
            InputError: the part has no examples.
        """
        if len(source) == 0:
            raise InputError("the training split must have examples", "none", "check data.split")
        self.source, self._seed, self._ranks = source, seed, ranks
        whole = -(-len(source) // ranks.world_size)
        self.batch_size = whole if params["batch_size"] == "all" else min(int(params["batch_size"]), whole)
        self._global_batch = self.batch_size * ranks.world_size
        self._batches = -(-len(source) // self._global_batch)
        self._accumulate = min(int(params["accumulate"]), self._batches)
        self.steps_per_epoch = -(-self._batches // self._accumulate)

    def groups(self, step: int) -> Iterator[list[Micro]]:
        """The groups from that step on (0: the first of the first epoch), without an end."""
        while True:
            epoch, within = divmod(step, self.steps_per_epoch)
            ranks = self._ranks
            order = self.source.order(epoch, self._seed, self.batch_size, ranks.rank, ranks.world_size)
            for place in range(within, self.steps_per_epoch):
                yield self._group(order, place * self._accumulate)
            step += self.steps_per_epoch - within

    def _group(self, order: Sequence[Any], first: int) -> list[Micro]:
        last = min(first + self._accumulate, self._batches)
        examples = min(last * self._global_batch, len(self.source)) - first * self._global_batch
        return [self._micro(order, place, examples) for place in range(first, last)]

    def _micro(self, order: Sequence[Any], place: int, examples: int) -> Micro:
        indices = order[place] if place < len(order) else ()
        count = len(indices)
        if count == 0:  # a rank without a share of the last batch takes part in it with a weight of nothing
            return Micro(order[0][:1], 0, 0.0)
        return Micro(indices, count, count * self._ranks.world_size / examples)


def shares(length: int, batch_size: int, ranks: Ranks) -> Iterator[range]:
    """This rank's consecutive indices of a part of `length` examples, in batches."""
    first = length * ranks.rank // ranks.world_size
    last = length * (ranks.rank + 1) // ranks.world_size
    for start in range(first, last, batch_size):
        yield range(start, min(start + batch_size, last))
