"""Transformers that read a text or an image, that continue, and that answer with a text. Imports torch.

Shape legend: B texts, L tokens, S tokens of a source, T tokens of a target, V tokens of the vocabulary,
D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainers.inputs.tokenizers import BEGIN
from trainers.inputs.vocabulary import PAD
from trainers.modules.attention import (
    KeyValueCache,
    PositionalEmbedding,
    TransformerBlock,
    TransformerShape,
    final_norm,
    sinusoids,
)
from trainers.modules.recurrent import RowSequence
from trainers.modules.stacked_values import most_in_stack


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderShape:
    """How token ids become vectors, and how many blocks follow. `tokens` and `places` are those of texts."""

    tokens: int
    places: int
    learned_places: bool
    layers: int

    def embedding(self, shape: TransformerShape) -> PositionalEmbedding:
        """The first layer."""
        return PositionalEmbedding(
            self.tokens, shape.width, self.places, learned=self.learned_places, dropout=shape.dropout
        )


class Encoder(nn.Module):
    """Token ids [B, L], `PAD` at the end, to vectors [B, L, D] and the mask of what is text, [B, 1, 1, L]."""

    def __init__(self, reading: EncoderShape, shape: TransformerShape) -> None:
        super().__init__()
        self.embedding = reading.embedding(shape)
        self.blocks = nn.ModuleList(TransformerBlock(shape) for _ in range(reading.layers))
        self.norm = final_norm(shape)

    def forward(self, ids_BL: Tensor) -> tuple[Tensor, Tensor]:
        """What lies beyond the longest text of the batch is cut off first."""
        is_text_BL = ids_BL != PAD
        longest = most_in_stack(is_text_BL.sum(dim=1))
        mask = is_text_BL[:, None, None, :longest]
        x = self.embedding(ids_BL[:, :longest].long())
        for block in self.blocks:
            x = block(x, mask=mask)
        return self.norm(x), mask


class RowEncoder(nn.Module):
    """The rows of images, top to bottom, as `Encoder` reads tokens: bytes [B, H, W, C] → [B, H, D]."""

    places: Tensor

    def __init__(
        self,
        reading: EncoderShape,
        shape: TransformerShape,
        image: Sequence[int],
        mean: list[float],
        std: list[float],
    ) -> None:
        super().__init__()
        height, width, channels = image
        self.rows = RowSequence(mean, std)
        self.project = nn.Linear(width * channels, shape.width)
        if reading.learned_places:
            self.places = nn.Parameter(torch.randn(height, shape.width) * 0.02)
        else:
            self.register_buffer("places", sinusoids(height, shape.width), persistent=False)
        self.dropout = nn.Dropout(shape.dropout)
        self.blocks = nn.ModuleList(TransformerBlock(shape) for _ in range(reading.layers))
        self.norm = final_norm(shape)

    def forward(self, x_BHWC: Tensor) -> tuple[Tensor, Tensor]:
        """All rows count: the mask [B, 1, 1, H] is true."""
        rows_BHW, _ = self.rows(x_BHWC, None)
        x = self.dropout(self.project(rows_BHW) + self.places)
        for block in self.blocks:
            x = block(x)
        return self.norm(x), torch.ones((len(x), 1, 1, x.shape[1]), dtype=torch.bool, device=x.device)


class Classifier(nn.Module):
    """The mean of a text's (or of an image's rows') vectors, dropout, one linear layer → [B, outputs]."""

    def __init__(self, encoder: Encoder | RowEncoder, shape: TransformerShape, outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.dropout = nn.Dropout(shape.dropout)
        self.head = nn.Linear(shape.width, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Token ids [B, L] or bytes [B, H, W, C] to logits, or numbers in regression."""
        x_BLD, mask = self.encoder(inputs)
        weight_BL1 = mask[:, 0, 0, :, None].to(x_BLD.dtype)
        mean_BD = (x_BLD * weight_BL1).sum(dim=1) / weight_BL1.sum(dim=1).clamp(min=1)
        answer: Tensor = self.head(self.dropout(mean_BD))
        return answer


class CausalLanguageModel(nn.Module):
    """A causal language model: [B, L] → logits of each place's next token [B, L, V].

    Attributes:
        context: tokens that are read at once.
    """

    def __init__(self, reading: EncoderShape, shape: TransformerShape, context: int) -> None:
        super().__init__()
        self.context = context
        self.embedding = reading.embedding(shape)
        self.blocks = nn.ModuleList(TransformerBlock(shape) for _ in range(reading.layers))
        self.norm = final_norm(shape)

    def forward(self, ids_BL: Tensor) -> Tensor:
        """At most `context` tokens a row."""
        x = self.embedding(ids_BL)
        for block in self.blocks:
            x = block(x, causal=True)
        return self.embedding.logits(self.norm(x))


class EncoderDecoder(nn.Module):
    """Encoder and decoder with one table of tokens: source [B, S] and target [B, T] → logits [B, T, V].

    Attributes:
        longest: tokens of the longest target that it has learned from.
    """

    def __init__(self, reading: EncoderShape, shape: TransformerShape, longest: int) -> None:
        super().__init__()
        self.longest = longest
        self.encoder = Encoder(reading, shape)
        self.blocks = nn.ModuleList(TransformerBlock(shape, source=True) for _ in range(reading.layers))
        self.norm = final_norm(shape)

    def forward(self, source_BS: Tensor, target_BT: Tensor) -> Tensor:
        """Each place of the target sees those before it; negative ids (nothing to learn) count as padding."""
        memory, mask = self.encoder(source_BS)
        return self.decode(shift_right(target_BT), memory, mask)

    def decode(
        self, ids_BT: Tensor, memory: Tensor, mask: Tensor, cache: KeyValueCache | None = None
    ) -> Tensor:
        """Logits [B, T, V] for ids that begin with `BEGIN`; with a cache, for those it has not read yet."""
        x = self.encoder.embedding(ids_BT, cache.length if cache else 0)
        for i, block in enumerate(self.blocks):
            x = block(x, causal=True, source=memory, source_mask=mask, cache=cache, number=i)
        return self.encoder.embedding.logits(self.norm(x))


def shift_right(target_BT: Tensor) -> Tensor:
    """What a decoder reads to write the target: `BEGIN`, then all but its last token."""
    begin = torch.full_like(target_BT[:, :1], BEGIN)
    return torch.cat([begin, target_BT[:, :-1].clamp(min=PAD)], dim=1)


class PromptDecoder:
    """A `CausalLanguageModel` that is writing after prompts of one length."""

    def __init__(self, module: CausalLanguageModel, prompt_BL: Tensor) -> None:
        self._module, self._prompt = module, prompt_BL

    def logits(self, tokens: Tensor) -> Tensor:
        """As `trainers.modules.decoding.NextTokenModel`."""
        text = torch.cat([self._prompt, tokens], dim=1)[:, -self._module.context :]
        logits: Tensor = self._module(text)[:, -1]
        return logits

    def choose(self, rows: Tensor) -> None:
        """As `trainers.modules.decoding.NextTokenModel`."""
        self._prompt = self._prompt[rows]


class SourceDecoder:
    """An `EncoderDecoder` that is writing for sources."""

    def __init__(self, module: EncoderDecoder, source_BS: Tensor) -> None:
        self._module = module
        self._memory, self._mask = module.encoder(source_BS)
        self._cache = KeyValueCache(len(module.blocks))

    def logits(self, tokens: Tensor) -> Tensor:
        """As `trainers.modules.decoding.NextTokenModel`."""
        last = tokens[:, -1:]
        if not tokens.shape[1]:
            last = torch.full((len(tokens), 1), BEGIN, device=tokens.device)
        return self._module.decode(last, self._memory, self._mask, self._cache)[:, -1]

    def choose(self, rows: Tensor) -> None:
        """As `trainers.modules.decoding.NextTokenModel`."""
        self._memory, self._mask = self._memory[rows], self._mask[rows]
        self._cache.choose(rows)
