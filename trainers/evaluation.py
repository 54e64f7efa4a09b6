"""The metrics of a module on one part of the data, over all ranks."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from trainers.feed import Source, shares
from trainers.tasks.merging import over_ranks

if TYPE_CHECKING:
    from trainers.family import Family, State
    from trainers.job import Ranks

_LATENCY_PASSES = 9


def evaluate(
    family: Family,
    module: torch.nn.Module,
    source: Source,
    state: State,
    *,
    batch_size: int,
    ranks: Ranks,
    alive: Callable[[], None],
) -> dict[str, float]:
    """The task's metrics by name without a prefix; the module is in training mode again afterwards.

    In float32 whatever `precision` training has: predictions of the kept model will be made so.

    Raises:
        NotFinite: the outputs were not finite numbers.
    """
    device = next(module.parameters()).device
    metrics = family.rules(state).metric_set(device)
    module.eval()
    with torch.no_grad():
        for indices in shares(len(source), batch_size, ranks):
            batch = source.gather(torch.arange(indices.start, indices.stop))
            family.judge(module, batch, metrics)
            alive()
    module.train()
    if ranks.world_size > 1:
        over_ranks(metrics)
    return metrics.compute()


def latency_ms(family: Family, module: torch.nn.Module, source: Source) -> float:
    """Median milliseconds of a forward pass of one example, the batch being on the device."""
    batch = source.gather(torch.arange(1))
    module.eval()
    with torch.no_grad():
        on_cuda = any(tensor.is_cuda for tensor in batch.values())
        times = [_timed(lambda: family.outputs(module, batch), on_cuda) for _ in range(_LATENCY_PASSES)]
    module.train()
    return 1000.0 * statistics.median(times)


def _timed(forward: Callable[[], object], on_cuda: bool) -> float:
    started = time.perf_counter()
    forward()
    if on_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started
