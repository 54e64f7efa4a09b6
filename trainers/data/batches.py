"""Resident batches: a part's examples, gathered by index from arrays that are already encoded.

The order of an epoch is a pure function of seed and epoch, so a resumed attempt goes on where it stopped, and
several ranks together see what one rank with their joint batch would see, in the same order.

Shape legend: N rows of the data set, n rows of the part, B examples of a batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import numpy as np

from trainers.data.dataset import EncodedDataset, Part
from trainers.errors import InputError

if TYPE_CHECKING:
    import torch

BatchSize = int | Literal["all"]
SHARE_OF_FREE = 0.25  # of a GPU's free memory, when no budget is given
AT_ONCE = 256  # batches that are cut out of an epoch together
POOL = 50  # batches whose examples are sorted by their length
GROUPS = "group_codes"  # of encoded arrays: who is in which group, int64 [N, columns]
IGNORED = -100  # in a target: padding
CHUNK_ROWS = 20_000  # looked at together


class Batches:
    """One part of an encoded data set, on one device.

    On the CPU the arrays' memory map is used as it is: lanes share its pages, and what does not fit in memory
    is read from disk as it is needed. A GPU holds a copy of the part where that fits in the budget; else
    batches are gathered on the host and sent.

    Attributes:
        rows: int64 [n], the part's rows of the data set, ascending.
        resident: whether the arrays are on the device as a whole.
    """

    def __init__(
        self, encoded: EncodedDataset, part: Part, device: str = "cpu", budget_bytes: int | None = None
    ) -> None:
        """Opens a part.

        Args:
            encoded: from `trainers.inputs.encoded_arrays.encode_dataset`.
            part: train, validation or test.
            device: as torch names it.
            budget_bytes: how much of the device the copy may take; by default a quarter of what is free.

        Raises:
            InputError: the part has no rows.
        """
        import torch

        rows = encoded.splits.get(part)
        if rows is None or not len(rows):
            raise InputError(f"the {part} part must have rows", "none", key=("data", "split"))
        self.part = part
        self.device = torch.device(device)
        self.rows = torch.from_numpy(np.array(rows, np.int64))
        self._on_cpu, self._count = self.device.type == "cpu", len(rows)
        arrays = {name: torch.from_numpy(values) for name, values in encoded.arrays.items()}
        if part == "train":  # models are judged by groups, and learn nothing from them
            arrays.pop(GROUPS, None)
        self._arrays = arrays
        self._lengths = self._content_lengths(encoded.state.get("alike_by")) if part == "train" else None
        self._whole: dict[str, torch.Tensor] | None = None
        self.resident = self.device.type == "cpu" or self._fits_memory(budget_bytes)
        if self.resident and self.device.type != "cpu":
            self._arrays = {
                name: self._gather_on_host(values, self.rows).to(self.device)
                for name, values in self._arrays.items()
            }

    def __len__(self) -> int:
        """n, the examples of the part."""
        return self._count

    def _content_lengths(self, name: str | None) -> torch.Tensor | None:
        """Of each example how much of that array is no padding, int64 [n]."""
        import torch

        if name is None:
            return None
        pieces = (self._arrays[name].index_select(0, rows) for rows in torch.split(self.rows, CHUNK_ROWS))
        return torch.cat([(piece != IGNORED).sum(dim=1) for piece in pieces])

    def _fits_memory(self, budget_bytes: int | None) -> bool:
        import torch

        if budget_bytes is None:
            cuda = self.device.type == "cuda"
            budget_bytes = int(torch.cuda.mem_get_info(self.device)[0] * SHARE_OF_FREE) if cuda else 0
        return self.size_bytes <= budget_bytes

    @property
    def size_bytes(self) -> int:
        """What the part's examples take, all arrays together."""
        row = sum(values[:1].numel() * values.element_size() for values in self._arrays.values())
        return row * len(self.rows)

    # -- order ---------------------------------------------------------------------------------------------

    def steps(self, batch_size: BatchSize, world_size: int = 1) -> int:
        """Batches of an epoch, the same on every rank."""
        return -(-len(self) // self._global_batch_size(batch_size, world_size))

    def _global_batch_size(self, batch_size: BatchSize, world_size: int) -> int:
        return len(self) if batch_size == "all" else batch_size * world_size

    def epoch_order(self, epoch: int, seed: int, *, shuffle: bool = True) -> torch.Tensor:
        """Positions in the part, int64 [n], in the order of this epoch; depends on nothing else."""
        import torch

        if not shuffle:
            return torch.arange(len(self))
        text = f"order {seed} {epoch}".encode()
        derived = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1
        return torch.randperm(len(self), generator=torch.Generator().manual_seed(derived))

    def batched_order(
        self, epoch: int, seed: int, batch_size: BatchSize, world_size: int = 1, *, shuffle: bool = True
    ) -> torch.Tensor:
        """All positions of an epoch, int64 [n], one joint batch after another, where the arrays are."""
        joint = self._global_batch_size(batch_size, world_size)
        whole = batch_size == "all"  # order means nothing to a sum over all, and the part's own needs no copy
        positions = self.epoch_order(epoch, seed, shuffle=shuffle and not whole)
        if shuffle and not whole and self._lengths is not None:
            positions = _bucket_by_length(positions, self._lengths, joint)
        return positions.to(self.device) if self.resident and self.device.type != "cpu" else positions

    def order(
        self,
        epoch: int,
        seed: int,
        batch_size: BatchSize,
        rank: int = 0,
        world_size: int = 1,
        *,
        shuffle: bool = True,
        start: int = 0,
    ) -> Iterator[torch.Tensor]:
        """The batches of an epoch as positions in the part, for `gather`.

        Each rank gets its stretch of the joint batch of `batch_size * world_size` examples. The last joint
        batch is dealt out evenly, so stretches differ by one example at most; where it has fewer examples
        than there are ranks, the rest get its first one, with weight 0 (see `weight`).

        Where the family's state names an array under `alike_by`, a shuffled batch holds examples of which
        that array is alike in length, so that little of it is padding.

        Args:
            epoch: from 0 or 1, as the caller counts.
            seed: the attempt's.
            batch_size: examples a rank, or `all` for the whole part in one batch.
            rank: this process.
            world_size: processes together.
            shuffle: False goes through the part in its own order (evaluation).
            start: batches to skip, where an attempt resumes within an epoch.
        """
        import torch

        joint = self._global_batch_size(batch_size, world_size)
        positions = self.batched_order(epoch, seed, batch_size, world_size, shuffle=shuffle)
        blocks = torch.split(positions[start * joint :], joint * AT_ONCE)
        batches = (batch for block in blocks for batch in torch.split(block, joint) if batch.numel())
        if world_size == 1:
            yield from batches
            return
        for together in batches:
            first, last = _rank_range(len(together), rank, world_size)
            yield together[first:last] if last > first else together[:1]

    # -- examples ------------------------------------------------------------------------------------------

    def gather(self, positions: torch.Tensor) -> dict[str, torch.Tensor]:
        """The examples at these positions of the part, every array [B, …], on the device."""
        if positions.numel() == self._count and self._is_whole(positions):
            return self.gather_all()
        if self._on_cpu:
            rows = self.rows.index_select(0, positions)
            return {name: values.index_select(0, rows) for name, values in self._arrays.items()}
        if self.resident:
            at = positions.to(self.device)
            return {name: values.index_select(0, at) for name, values in self._arrays.items()}
        rows = self.rows[positions.cpu()]
        return {
            name: self._send_to_device(self._gather_on_host(values, rows))
            for name, values in self._arrays.items()
        }

    def _is_whole(self, positions: torch.Tensor) -> bool:
        import torch

        return bool(torch.equal(positions, torch.arange(len(self), device=positions.device)))

    def gather_all(self) -> dict[str, torch.Tensor]:
        """All examples of the part; gathered once, and without a copy where its rows stand in one piece."""
        if self._whole is None:
            self._whole = self._gather_whole()
        return dict(self._whole)

    def _gather_whole(self) -> dict[str, torch.Tensor]:
        if self.resident and self.device.type != "cpu":
            return self._arrays
        first, count = int(self.rows[0]), len(self)
        if self.device.type == "cpu" and int(self.rows[-1]) - first + 1 == count:
            return {name: values.narrow(0, first, count) for name, values in self._arrays.items()}
        return {
            name: self._gather_on_host(values, self.rows).to(self.device)
            for name, values in self._arrays.items()
        }

    @staticmethod
    def _gather_on_host(values: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        return values.index_select(0, rows)

    def _send_to_device(self, values: torch.Tensor) -> torch.Tensor:
        if self.device.type != "cuda":
            return values.to(self.device)
        return values.pin_memory().to(self.device, non_blocking=True)


def _bucket_by_length(positions: torch.Tensor, lengths: torch.Tensor, size: int) -> torch.Tensor:
    """The same positions, so that each `size` of them that follow one another are alike in length.

    Sorted within pools alone, and batches stand in the random order of their first examples: the order of an
    epoch stays one of chance. A short last batch keeps its examples.
    """
    import torch

    place = torch.empty_like(positions)
    place[positions] = torch.arange(len(positions))
    batches = []
    for pool in torch.split(positions[: len(positions) // size * size], POOL * size):
        rows = pool[lengths[pool].argsort(stable=True)].view(-1, size)
        batches.append(rows[place[rows[:, 0]].argsort()].flatten())
    return torch.cat([*batches, positions[len(positions) // size * size :]])


def _rank_range(count: int, rank: int, world_size: int) -> tuple[int, int]:
    """First and last (exclusive) example of a rank in a joint batch of `count`; a full one is cut in equal
    pieces, a shorter one as evenly as can be."""
    base, more = divmod(count, world_size)
    first = rank * base + min(rank, more)
    return first, first + base + (1 if rank < more else 0)
