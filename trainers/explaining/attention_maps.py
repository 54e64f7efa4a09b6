"""How much each word attends to each other one, as the attentions of a module see it.

What a word attends to is not yet where an answer comes from (S. Jain, B. C. Wallace, "Attention is not
explanation", NAACL 2019): maps stand beside the importances, and in their place nowhere.

Shape legend: B examples, H heads, L tokens that ask, S tokens that are asked, N layers, W words.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

if TYPE_CHECKING:
    from trainers.explaining.words import Word
    from trainers.types import Array


class AttentionRecorder(TorchFunctionMode):
    """Within the block every attention is computed a second time for its weights.

    Attributes:
        maps: the mean over heads of each attention of a sequence to itself, [B, L, L], in the order of calls.
    """

    def __init__(self) -> None:
        super().__init__()
        self.maps: list[Tensor] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Calls what is called; of an attention it keeps the weights too."""
        given = dict(kwargs or {})
        if func is functional.scaled_dot_product_attention:
            found = _weights(*args, **given)
            if found.dim() == 4 and found.shape[-1] == found.shape[-2]:
                self.maps.append(found.mean(1).detach())
        return func(*args, **given)


def _weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Of torch's `scaled_dot_product_attention`, whose arguments these are, [B, H, L, S]."""
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    scores = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
    if is_causal:
        scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), -math.inf)
    if attn_mask is not None:
        hidden = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -math.inf) if hidden else scores + attn_mask
    return scores.softmax(-1).nan_to_num()  # a row of nothing but padding attends to nothing


def attention_of_words(maps: Sequence[Tensor], row: int, words: Sequence[Word]) -> Array | None:
    """One text's maps from word to word, float64 [N, W, W]: the mean over the pieces that ask of the sum over
    those that are asked. None where the module attends to nothing, or its tokens are not the text's."""
    last = max((word.tokens[1] for word in words), default=0)
    own = [found[row].double().cpu().numpy() for found in maps if found.shape[-1] >= last]
    if not own or not words:
        return None
    asked = np.stack([[seen[:, slice(*w.tokens)].sum(-1) for w in words] for seen in own])  # [N, W, L]
    return np.stack([asked[..., slice(*w.tokens)].mean(-1) for w in words], axis=1)
