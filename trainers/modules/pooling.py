"""Pooling by two for one model and for stacks of them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainers.modules.stacked_values import is_stacked


class MaxPool(nn.MaxPool2d):
    """The largest of each two by two, [B, C, H, W] to [B, C, H // 2, W // 2].

    A stack's images lie row by row, since grouped convolutions are fastest so, and torch's kernel on CPU
    takes ten times as long for those as for images whose channels lie side by side: they are laid out anew
    for it. The numbers and the gradients are the same to the bit.
    """

    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Of a stack, each member's own."""
        if not is_stacked(x_BCHW) or x_BCHW.device.type != "cpu":
            found: Tensor = super().forward(x_BCHW)
            return found
        return _pool_by_channels(x_BCHW)[0]


def _pool_by_channels(x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    """The largest of each two by two, and where it stood."""
    pooled, places = _PoolByChannels.apply(x_BCHW)  # type: ignore[no-untyped-call]  # torch's own
    return pooled, places


class _PoolByChannels(torch.autograd.Function):
    @staticmethod
    def forward(x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        x_BHWC = x_BCHW.permute(0, 2, 3, 1).contiguous()
        pooled, places = functional.max_pool2d_with_indices(x_BHWC.permute(0, 3, 1, 2), (2, 2))
        return pooled.contiguous(), places

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs, output[1])
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, _: Tensor) -> Tensor:
        x_BCHW, places = ctx.saved_tensors
        found: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(
            gradient.contiguous(), x_BCHW, [2, 2], [2, 2], [0, 0], [1, 1], False, places
        )
        return found

    @staticmethod
    def vmap(_info: Any, dims: tuple[int], x: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        x_BMCHW = x.movedim(dims[0], 1)  # as a stack's convolutions leave it, and take it
        found = _pool_by_channels(x_BMCHW.flatten(0, 1))
        pooled, places = (one.view(*x_BMCHW.shape[:2], *one.shape[1:]) for one in found)
        return (pooled, places), (1, 1)
