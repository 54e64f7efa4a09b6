"""Putting the metrics of several ranks together.

Metrics never do this by themselves: lanes that share a process but not a trial would mix their results, or
wait for one another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch.distributed import ProcessGroup

    from trainers.tasks import MetricSet
    from trainers.tasks.example_scores import ExampleScores


def merge_ranks(metrics: MetricSet | ExampleScores, group: ProcessGroup | None = None) -> None:
    """Makes `metrics` on every rank hold what all ranks of the process group saw.

    To be called by every rank of the group, with as many different numbers of examples as they like.
    """
    import torch.distributed as dist

    for tensor in metrics.sums():
        dist.all_reduce(tensor, group=group)
    metrics.set_rows([_gather_rows(rows, group) for rows in metrics.rows()])


def _gather_rows(rows: torch.Tensor, group: ProcessGroup | None) -> torch.Tensor:
    import torch
    import torch.distributed as dist

    world = dist.get_world_size(group)
    length = torch.tensor([len(rows)], device=rows.device)
    lengths = [torch.zeros_like(length) for _ in range(world)]
    dist.all_gather(lengths, length, group=group)
    longest = max(int(n) for n in lengths)
    padded = rows.new_zeros(longest, *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = [torch.zeros_like(padded) for _ in range(world)]
    dist.all_gather(parts, padded, group=group)
    return torch.cat([part[: int(n)] for part, n in zip(parts, lengths, strict=True)])
