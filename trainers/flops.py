"""Floating-point operations of a call on tensors: two for each multiplication that is added.

PyTorch's counter knows products of matrices, convolutions and attention; everything that is done to each
number alone (activations, normalisation) counts nothing, as is usual. What it does not know by itself and
would count as nothing, fused recurrent layers and attention on a CPU, is told to it here.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from trainers.family import Family
    from trainers.types import ExampleSource, Params, State

Shape = Sequence[int]
_EXAMPLES = 2  # of a training step: normalisation over a batch takes no single one


def count_flops(call: Callable[[], object]) -> float | None:
    """What the call computes; None where nothing of it can be counted (trees, say)."""
    from torch.utils.flop_counter import FlopCounterMode

    _spare_compiler()
    counter = FlopCounterMode(display=False, custom_mapping=dict(_own_formulas()))
    with counter:
        call()
    return float(counter.get_total_flops()) or None


_NOTED = "__dynamo_disable"  # where torch notes a function as its compiler would have it called


def _spare_compiler() -> None:
    """PyTorch keeps its counter out of its compiler, and loads that for it: most of two seconds of a process
    that never compiles. Where it is loaded already, or in a version without the note, all stays as it is."""
    from torch.utils.flop_counter import _FlopCounterMode

    plain = getattr(_FlopCounterMode.__torch_dispatch__, "__wrapped__", None)
    if plain is None or hasattr(plain, _NOTED) or "torch._dynamo" in sys.modules:
        return
    setattr(plain, _NOTED, plain)


def answer_flops(family: Family, module: torch.nn.Module, source: ExampleSource) -> float | None:
    """Of a forward pass of one example, as its latency is measured."""
    import torch

    batch = source.gather(torch.arange(1))
    module.eval()
    with torch.no_grad():
        found = count_flops(partial(family.outputs, module, batch))
    module.train()
    return found


def training_flops(
    family: Family, module: torch.nn.Module, source: ExampleSource, params: Params, state: State
) -> float | None:
    """Of one example's forward and backward pass; None for a family whose steps are its own.

    Weights, gradients, buffers and the states of random generators are what they were before.
    """
    import torch

    from trainers.family import Family

    if type(family).train_step is not Family.train_step:
        return None
    batch = source.gather(torch.arange(min(_EXAMPLES, len(source))))
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]

    def step() -> None:
        loss = family.loss(family.outputs(module, batch), batch, params, state)
        torch.autograd.grad(loss, weights, allow_unused=True)

    with torch.random.fork_rng():
        found = count_flops(step)
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)
    return None if found is None else found / min(_EXAMPLES, len(source))


def _own_formulas() -> Mapping[Any, Callable[..., int]]:
    """Operators of PyTorch → how many operations they are, of the shapes of their arguments."""
    import torch
    from torch.utils.flop_counter import sdpa_backward_flop_count, sdpa_flop_count

    aten = torch.ops.aten

    def attend(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
        return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]  # PyTorch's own

    def attend_backward(grad: Shape, query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
        return int(sdpa_backward_flop_count(grad, query, key, value))  # type: ignore[no-untyped-call]  # PyTorch's own

    return {
        aten.mkldnn_rnn_layer: _recurrent,
        aten.mkldnn_rnn_layer_backward: lambda *shapes, **_: 2 * _recurrent(*shapes),
        aten._cudnn_rnn: _recurrent_stack,
        aten._cudnn_rnn_backward: lambda *shapes, **_: 2 * _recurrent_stack(*shapes),
        aten._scaled_dot_product_flash_attention_for_cpu: attend,
        aten._scaled_dot_product_flash_attention_for_cpu_backward: attend_backward,
    }


def _recurrent(given: Shape, from_input: Shape, from_state: Shape, *_: Any, **__: Any) -> int:
    """One layer: at each place of each example both matrices are multiplied once."""
    return 2 * math.prod(given[:2]) * (math.prod(from_input) + math.prod(from_state))


def _recurrent_stack(given: Shape, weights: Sequence[Shape], *_: Any, **__: Any) -> int:
    matrices = sum(math.prod(shape) for shape in weights if len(shape) == 2)
    return 2 * math.prod(given[:2]) * matrices
