"""The metrics of a module on one part of the data, over all ranks."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

import torch

from trainers.loop.micro_batches import rank_batches
from trainers.tasks.merging import merge_ranks
from trainers.types import ExampleSource, Outputs, Ranks

if TYPE_CHECKING:
    from trainers.family import Family
    from trainers.tasks import MetricSink
    from trainers.tasks.example_scores import ExampleScores
    from trainers.types import State

_LATENCY_PASSES = 9


def evaluate(
    family: Family,
    module: torch.nn.Module,
    source: ExampleSource,
    state: State,
    *,
    batch_size: int,
    ranks: Ranks,
    alive: Callable[[], None],
    singly: ExampleScores | None = None,
    through: Callable[[Callable[[], None]], None] = lambda call: call(),
) -> dict[str, float]:
    """The task's metrics by name without a prefix; the module is in training mode again afterwards.

    In float32 whatever `precision` training has: predictions of the kept model will be made so.

    Args:
        ranks: share the examples; where the weights are sharded all judge every example, step by step
            together, for each needs the others' parts (and a text that is written ends where it ends).
        singly: takes every example's own scores in the same pass, those of all ranks in their order.
        through: calls what it is given where the weights can be used.
    """
    device = next(module.parameters()).device
    metrics = family.rules(state).metric_set(device)
    counted = metrics if singly is None else _PairedMetrics(metrics, singly)
    own = Ranks() if ranks.sharded else ranks
    module.eval()
    with torch.no_grad():
        for indices in rank_batches(len(source), batch_size, own):
            batch = source.gather(torch.arange(indices.start, indices.stop))
            through(partial(family.judge, module, batch, counted))
            alive()
    module.train()
    if own.world_size > 1:
        merge_ranks(metrics)
        if singly is not None:
            merge_ranks(singly)
    return metrics.compute()


class _PairedMetrics:
    """Adds each batch to the metrics and to every example's own."""

    def __init__(self, metrics: MetricSink, singly: ExampleScores) -> None:
        self._metrics, self._singly = metrics, singly

    def update(self, outputs: Outputs, batch: Mapping[str, torch.Tensor]) -> None:
        """As `MetricSet.update`."""
        self._metrics.update(outputs, batch)
        self._singly.update(outputs, batch)


def latency_ms(
    family: Family,
    module: torch.nn.Module,
    source: ExampleSource,
    through: Callable[[Callable[[], Outputs]], Outputs] = lambda call: call(),
) -> float:
    """Median milliseconds of a forward pass of one example, the batch being on the device."""
    batch = source.gather(torch.arange(1))
    module.eval()
    with torch.no_grad():
        on_cuda = any(tensor.is_cuda for tensor in batch.values())
        forward = partial(through, partial(family.outputs, module, batch))
        times = [_time_call(forward, on_cuda) for _ in range(_LATENCY_PASSES)]
    module.train()
    return 1000.0 * statistics.median(times)


def _time_call(forward: Callable[[], object], on_cuda: bool) -> float:
    started = time.perf_counter()
    forward()
    if on_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - started
