"""The parts of a Transformer. Imports torch: import it where a module is built.

A. Vaswani et al., "Attention Is All You Need", 2017 (arXiv 1706.03762).

Shape legend: B examples, L tokens that ask, S tokens that are asked, D width, H heads, K = D / H.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainers.errors import InputError
from trainers.modules.layers import ACTIVATIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformerShape:
    """What the blocks of one model have in common, named as the hyper-parameters are."""

    width: int
    heads: int
    feed_forward: int
    dropout: float
    activation: str
    norm_first: bool

    def __post_init__(self) -> None:
        """Refuses a width that cannot be dealt out to the heads."""
        if self.width % self.heads or self.width % 2:
            raise InputError(
                "width must be an even multiple of heads", f"width {self.width}, heads {self.heads}",
                "choose widths and heads in the space so that every pair fits", key=("width",),
            )  # fmt: skip


def sinusoids(positions: int, width: int) -> Tensor:
    """PE(p, 2i) = sin(p / 10000^(2i / D)), PE(p, 2i + 1) = cos of the same (Vaswani 2017, section 3.5).

    Returns:
        Floats [positions, width].
    """
    place_P1 = torch.arange(positions, dtype=torch.float64)[:, None]
    rate_I = torch.exp(torch.arange(0, width, 2, dtype=torch.float64) * (-math.log(10_000.0) / width))
    table = torch.zeros(positions, width, dtype=torch.float64)
    table[:, 0::2] = torch.sin(place_P1 * rate_I)
    table[:, 1::2] = torch.cos(place_P1 * rate_I)
    return table.float()


class PositionalEmbedding(nn.Module):
    """Token ids [B, L] as vectors [B, L, D]: E[token] * sqrt(D) + the vector of its place, then dropout.

    The same E turns outputs into logits (`logits`), as in section 3.4 of the paper.
    """

    table: Tensor

    def __init__(self, tokens: int, width: int, places: int, *, learned: bool, dropout: float) -> None:
        super().__init__()
        self.tokens = nn.Embedding(tokens, width)
        nn.init.normal_(self.tokens.weight, std=width**-0.5)
        self.scale = math.sqrt(width)
        self.places = nn.Embedding(places, width) if learned else None
        if self.places is not None:
            nn.init.normal_(self.places.weight, std=0.02)
        else:
            self.register_buffer("table", sinusoids(places, width), persistent=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids_BL: Tensor, first: int = 0) -> Tensor:
        """`first`: the place of the first token."""
        last = first + ids_BL.shape[1]
        where = self.table[first:last] if self.places is None else self.places.weight[first:last]
        vectors: Tensor = self.dropout(self.tokens(ids_BL) * self.scale + where)
        return vectors

    def logits(self, x_BLD: Tensor) -> Tensor:
        """[B, L, D] to a number a token, [B, L, tokens]."""
        return functional.linear(x_BLD, self.tokens.weight)


class Attention(nn.Module):
    """softmax(Q K^T / sqrt(K)) V in H heads, by torch's fused kernel.

    Takes who asks [B, L, D] and who is asked [B, S, D]; `mask` is True where S may be seen.
    """

    def __init__(self, shape: TransformerShape) -> None:
        super().__init__()
        self.heads, self.dropout = shape.heads, shape.dropout
        self.query = nn.Linear(shape.width, shape.width)
        self.key_value = nn.Linear(shape.width, 2 * shape.width)
        self.out = nn.Linear(shape.width, shape.width)

    def project_keys_values(self, x_BSD: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of who is asked, [B, H, S, K] each."""
        key, value = self.key_value(x_BSD).chunk(2, dim=-1)
        return self._split(key), self._split(value)

    def forward(
        self, x_BLD: Tensor, asked: tuple[Tensor, Tensor], *, mask: Tensor | None = None, causal: bool = False
    ) -> Tensor:
        """[B, L, D]."""
        answer_BHLK = functional.scaled_dot_product_attention(
            self._split(self.query(x_BLD)),
            *asked,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=causal,
        )
        answer: Tensor = self.out(answer_BHLK.transpose(1, 2).flatten(2))
        return answer

    def _split(self, x_BLD: Tensor) -> Tensor:
        return x_BLD.reshape(*x_BLD.shape[:2], self.heads, -1).transpose(1, 2)


Asked = tuple[Tensor, Tensor]


class KeyValueCache:
    """Keys and values of what a decoder has already read, a pair for each block."""

    def __init__(self, blocks: int) -> None:
        self.own: list[Asked | None] = [None] * blocks
        self.source: list[Asked | None] = [None] * blocks

    @property
    def length(self) -> int:
        """Tokens read so far."""
        return 0 if self.own[0] is None else int(self.own[0][0].shape[2])

    def append(self, block: int, new: Asked) -> Asked:
        """The block's keys and values with the new ones at their end."""
        old = self.own[block]
        both = new if old is None else (torch.cat([old[0], new[0]], 2), torch.cat([old[1], new[1]], 2))
        self.own[block] = both
        return both

    def choose(self, rows: Tensor) -> None:
        """Goes on with these rows of the batch (beams that were kept)."""
        for held in (self.own, self.source):
            for i, pair in enumerate(held):
                if pair is not None:
                    held[i] = (pair[0][rows], pair[1][rows])


class TransformerBlock(nn.Module):
    """Self-attention, attention to a source if there is one, and two dense layers, each added to its input.

    The norm comes before each part (`norm_first`; Xiong et al. 2020) or after the sum, as in the paper.
    """

    def __init__(self, shape: TransformerShape, *, source: bool = False) -> None:
        super().__init__()
        self.norm_first = shape.norm_first
        self.attention = Attention(shape)
        self.to_source = Attention(shape) if source else None
        self.dense = nn.Sequential(
            nn.Linear(shape.width, shape.feed_forward),
            ACTIVATIONS[shape.activation](),
            nn.Dropout(shape.dropout),
            nn.Linear(shape.feed_forward, shape.width),
        )
        self.norms = nn.ModuleList(nn.LayerNorm(shape.width) for _ in range(3 if source else 2))
        self.dropout = nn.Dropout(shape.dropout)

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        causal: bool = False,
        source: Tensor | None = None,
        source_mask: Tensor | None = None,
        cache: KeyValueCache | None = None,
        number: int = 0,
    ) -> Tensor:
        """[B, L, D] to [B, L, D]; with a cache x holds only what was not read yet."""

        def attend_self(h: Tensor) -> Tensor:
            asked = self.attention.project_keys_values(h)
            if cache is not None:
                asked = cache.append(number, asked)
            answer: Tensor = self.attention(h, asked, mask=mask, causal=causal and h.shape[1] > 1)
            return answer

        x = self._add_residual(x, attend_self, 0)
        if self.to_source is not None:
            assert source is not None
            asked = self._source_keys(source, cache, number)
            to_source = self.to_source
            x = self._add_residual(x, lambda h: to_source(h, asked, mask=source_mask), 1)
        return self._add_residual(x, self.dense, -1)

    def _source_keys(self, source: Tensor, cache: KeyValueCache | None, number: int) -> Asked:
        assert self.to_source is not None
        known = cache.source[number] if cache is not None else None
        if known is None:
            known = self.to_source.project_keys_values(source)
            if cache is not None:
                cache.source[number] = known
        return known

    def _add_residual(self, x: Tensor, part: Callable[[Tensor], Tensor], norm: int) -> Tensor:
        if self.norm_first:
            added: Tensor = x + self.dropout(part(self.norms[norm](x)))
            return added
        normed: Tensor = self.norms[norm](x + self.dropout(part(x)))
        return normed


def final_norm(shape: TransformerShape) -> nn.Module:
    """What follows the last block: a norm where blocks begin with theirs, nothing where they end with it."""
    return nn.LayerNorm(shape.width) if shape.norm_first else nn.Identity()
