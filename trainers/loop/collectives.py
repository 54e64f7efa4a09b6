"""Several processes that train one attempt: what they agree on and what they add up.

Ranks never decide alone: what ends or branches a loop comes from rank 0. The process group is made by the
caller and spans exactly the ranks of the attempt; a single rank needs none and touches none.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from trainers.errors import InputError
from trainers.types import Ranks

if TYPE_CHECKING:
    import torch


class RankGroup:
    """This process among those of its attempt. Each method is called by every rank, in the same order."""

    def __init__(self, ranks: Ranks, device: torch.device) -> None:
        """Looks at the process group, where there is more than one rank."""
        self.rank, self.size = ranks.rank, ranks.world_size
        self.alone, self.first = ranks.world_size == 1, ranks.rank == 0
        self.sharded = ranks.sharded and not self.alone
        self._device = device if not self.alone and _is_device_only() else "cpu"

    def broadcast(self, *values: int) -> tuple[int, ...]:
        """Rank 0's values, on every rank."""
        if self.alone:
            return values
        import torch
        import torch.distributed as dist

        vector = torch.tensor(values, dtype=torch.int64, device=self._device)
        dist.broadcast(vector, src=0)
        return tuple(int(value) for value in vector.tolist())

    def sum_over_ranks(self, *values: float) -> tuple[float, ...]:
        """The sums of the values over all ranks, in float64."""
        if self.alone:
            return values
        import torch
        import torch.distributed as dist

        vector = torch.tensor(values, dtype=torch.float64, device=self._device)
        dist.all_reduce(vector)
        return tuple(float(value) for value in vector.tolist())

    def require_same(self, at: int, what: str) -> None:
        """Refuses to go on where another rank found another checkpoint, or none.

        Args:
            at: where this rank's checkpoint stands; -1: it has none.
            what: the unit of `at`.
        """
        (first,) = self.broadcast(at)
        (others,) = self.sum_over_ranks(float(first != at))
        if others:
            raise InputError(
                "every rank must load the same checkpoint", f"{what} {at} here, {first} at rank 0"
            )

    def gather_rows(self, vector: torch.Tensor) -> torch.Tensor:
        """[ranks, n] of each rank's vector [n], on the CPU; n is the same everywhere."""
        import torch

        if self.alone:
            return vector.unsqueeze(0).cpu()
        import torch.distributed as dist

        here = vector.to(self._device)
        rows = [torch.empty_like(here) for _ in range(self.size)]
        dist.all_gather(rows, here)
        return torch.stack(rows).cpu()

    def average_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replaces each gradient that there is by its mean over ranks, in one message."""
        if self.alone:
            return
        import torch
        import torch.distributed as dist
        from torch.nn.utils import parameters_to_vector, vector_to_parameters

        gradients = [p.grad for p in parameters if p.grad is not None]
        if gradients:
            flat = parameters_to_vector(gradients)
            dist.all_reduce(flat)
            with torch.no_grad():
                vector_to_parameters(flat / self.size, gradients)

    def broadcast_buffers(self, module: torch.nn.Module) -> None:
        """Gives rank 0's buffers (running means of batch norm) to every rank."""
        if self.alone:
            return
        import torch.distributed as dist

        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)


def _is_device_only() -> bool:
    """Whether the process group carries device tensors alone (NCCL without gloo beside it)."""
    import torch.distributed as dist

    return dist.is_nccl_available() and dist.get_backend() == "nccl"
