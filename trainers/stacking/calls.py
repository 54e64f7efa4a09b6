"""Dropout and attention of a stack: each member leaves units out at its own rate, by its own draws.

A member draws what it would draw by itself, in the same order, so that it is the same trial in a stack.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from trainers.modules.stacked_values import MEMBER_LENGTHS, is_stacked, join_stack, outside_stack, split_stack

Value: TypeAlias = object
SHARED_RATE = 0.4321987654321  # of a module that stands for all members; each one's own takes its place


class StackedCalls(TorchFunctionMode):
    """While this lasts, dropout under `torch.func.vmap` is each member's own, and attention is one call."""

    def __init__(self) -> None:
        """Of no member yet; `set_members` must come first."""
        super().__init__()
        self._rates: Sequence[float] = ()
        self._chances: Sequence[torch.Generator | None] = ()

    def set_members(self, rates: Sequence[float], chances: Sequence[torch.Generator | None]) -> None:
        """Each row's rate, and what it draws from; None: the row is nobody's."""
        self._rates, self._chances = rates, chances

    def __torch_function__(
        self,
        func: Callable[..., Value],
        types: Iterable[type],
        args: tuple[Value, ...] = (),
        kwargs: Mapping[str, Value] | None = None,
    ) -> Value:
        """Takes the place of dropout and of attention with it; everything else is as it is."""
        given = kwargs or {}
        if func is functional.dropout:
            return self._drop(*args, **given)  # type: ignore[arg-type]
        if func is functional.scaled_dot_product_attention:
            attend = self._attend if given.get("dropout_p") else _attend_flat
            return attend(*args, **given)  # type: ignore[arg-type]
        return func(*args, **given)

    def _drop(self, x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or p == 0.0 or not is_stacked(x):
            return functional.dropout(x, p, training)
        with outside_stack():
            masks = self._draw_masks(x.shape, x.dtype, x.device, p)
        return x * split_stack(masks, x)

    def _draw_masks(self, shape: torch.Size, dtype: torch.dtype, device: torch.device, p: float) -> Tensor:
        """[F, *shape]: 0 where a unit is left out, else 1 / (1 - rate)."""
        masks = torch.ones(len(self._rates), *shape, dtype=dtype, device=device)
        rates = self._rates if p == SHARED_RATE else [p] * len(self._rates)
        lengths = MEMBER_LENGTHS.get()
        for row, (mask, rate, chance) in enumerate(zip(masks, rates, self._chances, strict=True)):
            if chance is None or rate == 0.0:
                continue
            own = _own_part(mask, lengths[row], max(lengths)) if lengths else mask
            drawn = (
                own if own.is_contiguous() else torch.empty_like(own, memory_format=torch.contiguous_format)
            )
            drawn.bernoulli_(1.0 - rate, generator=chance).div_(1.0 - rate)
            if drawn is not own:
                own.copy_(drawn)
        return masks

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
    ) -> Tensor:
        """softmax(Q K^T · scale + mask) V with dropout between, as torch does it where there is some."""
        root = math.sqrt(1.0 / math.sqrt(query.shape[-1]) if scale is None else scale)
        scores = (query * root) @ (key * root).transpose(-2, -1)
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, -math.inf)
        elif attn_mask is not None:
            scores = scores + attn_mask
        return self._drop(scores.softmax(-1), dropout_p) @ value


def _attend_flat(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **given: Value
) -> Tensor:
    """Attention without dropout, members being examples: the kernel has no rule for vmap."""
    if not (is_stacked(query) and is_stacked(key) and is_stacked(value)):
        return functional.scaled_dot_product_attention(query, key, value, attn_mask, **given)  # type: ignore[arg-type]
    whole = [join_stack(tensor) for tensor in (query, key, value)]
    members, examples = whole[0].shape[:2]
    if attn_mask is not None and is_stacked(attn_mask):
        attn_mask = join_stack(attn_mask).flatten(0, 1)
    elif attn_mask is not None and attn_mask.ndim == query.ndim:
        attn_mask = attn_mask.expand(members, *attn_mask.shape).flatten(0, 1)
    flat_query, flat_key, flat_value = (tensor.flatten(0, 1) for tensor in whole)
    with outside_stack():
        found = functional.scaled_dot_product_attention(
            flat_query, flat_key, flat_value, attn_mask, **given  # type: ignore[arg-type]
        )  # fmt: skip
        stacked = found.unflatten(0, (members, examples))  # type: ignore[no-untyped-call]
    return split_stack(stacked, query)


def _own_part(mask: Tensor, length: int, longest: int) -> Tensor:
    """The part of a mask over texts, [B, L, D] or [B, H, L, L], that a member whose texts are cut shorter
    would draw by itself."""
    if length == longest:
        return mask
    if mask.ndim == 3 and mask.shape[1] == longest:
        return mask[:, :length]
    if mask.ndim == 4 and mask.shape[3] == longest:
        return mask[:, :, :length, :length] if mask.shape[2] == longest else mask[..., :length]
    return mask
