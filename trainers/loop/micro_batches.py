"""Which examples each optimizer's step takes: one order for any number of ranks and accumulated batches.

A step takes G = batch_size · ranks · accumulate examples of the epoch's order, its last step what is left.
Each micro-batch is weighted so that the mean over ranks of the summed gradients is the gradient of the mean
loss over all the step's examples, however they are cut up.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from trainers.data.batches import Batches
from trainers.data.dataset import EncodedDataset, Part
from trainers.types import ExampleSource, Params, Ranks

if TYPE_CHECKING:
    import torch


class MicroBatch(NamedTuple):
    """A micro-batch: its positions, how many of them count, and the weight of its mean loss.

    Attributes:
        of: the examples of its whole step, over all ranks.
    """

    positions: torch.Tensor
    examples: int
    weight: float
    of: int


class MicroBatchFeed:
    """Groups of micro-batches, one group a step, from any step on."""

    def __init__(self, source: ExampleSource, params: Params, seed: int, ranks: Ranks) -> None:
        """Reads `batch_size` and `accumulate`; `batch_size` is then the examples of a rank's full batch,
        `accumulate` no more than an epoch has."""
        self.source, self._seed, self._ranks = source, seed, ranks
        self._size = params["batch_size"]
        whole = self._size == "all"
        self._joint = len(source) if whole else int(self._size) * ranks.world_size
        self._batches = -(-len(source) // self._joint)
        self.accumulate = min(int(params["accumulate"]), self._batches)
        self.batch_size = -(-min(self._joint, len(source)) // ranks.world_size)
        self.steps_per_epoch = -(-self._batches // self.accumulate)

    def groups(self, step: int) -> Iterator[list[MicroBatch]]:
        """The groups from that step on (0: the first of the first epoch), without an end."""
        while True:
            epoch, within = divmod(step, self.steps_per_epoch)
            first = within * self.accumulate
            rank, world = self._ranks.rank, self._ranks.world_size
            order = self.source.order(epoch, self._seed, self._size, rank, world, start=first)
            alike = self.accumulate == 1 and self._joint % world == 0
            full = len(self.source) // self._joint if alike else 0
            for positions in islice(order, max(0, full - first)):  # nearly all: every example counts
                yield [MicroBatch(positions, self.batch_size, 1.0, self._joint)]
            for place in range(max(first, full), self._batches, self.accumulate):
                yield self._next_group(order, place)
            step += self.steps_per_epoch - within

    def _next_group(self, order: Iterator[torch.Tensor], first: int) -> list[MicroBatch]:
        last = min(first + self.accumulate, self._batches)
        examples = min(last * self._joint, len(self.source)) - first * self._joint
        return [self._micro_batch(next(order), place, examples) for place in range(first, last)]

    def _micro_batch(self, positions: torch.Tensor, place: int, examples: int) -> MicroBatch:
        world = self._ranks.world_size
        joint = min(self._joint, len(self.source) - place * self._joint)
        dealt = joint // world + (self._ranks.rank < joint % world)
        return MicroBatch(positions, dealt, dealt * world / examples, examples)


def rank_batches(length: int, batch_size: int, ranks: Ranks) -> Iterator[range]:
    """This rank's consecutive positions in a part of `length` examples, in batches."""
    first = length * ranks.rank // ranks.world_size
    last = length * (ranks.rank + 1) // ranks.world_size
    for start in range(first, last, batch_size):
        yield range(start, min(start + batch_size, last))


class PartSources:
    """Each part's examples, opened when first asked for: `test` is not touched unless it is read."""

    def __init__(self, encoded: EncodedDataset, device: str) -> None:
        """Opens nothing yet."""
        self._encoded, self._device = encoded, device
        self._made: dict[Part, Batches] = {}

    def __getitem__(self, part: Part) -> Batches:
        if part not in self._made:
            self._made[part] = Batches(self._encoded, part, self._device)
        return self._made[part]
