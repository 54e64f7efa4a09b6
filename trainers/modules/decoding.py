"""Writing text token by token: the likeliest, a draw, or the best of several beams.

Knows nothing of the model: `NextTokenModel` gives numbers for the next token and goes on with chosen rows.

Shape legend: B texts, W beams of each, V tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, model_validator

if TYPE_CHECKING:
    import pandas as pd
    import torch
    from torch import Tensor


class DecodingOptions(BaseModel):
    """How text is written.

    Attributes:
        strategy: `greedy`: the likeliest token each time; `sample`: a draw; `beam`: the likeliest of several
            whole texts.
        max_tokens: at most so many.
        beams: with `beam`.
        temperature: with `sample`; below 1 keeps to the likely.
        top_k: with `sample`: draws among so many; 0: among all.
        outputs: texts for each input, with `sample` or `beam` (`greedy` has one).
        seed: of the draws, so that the same prompt gives the same text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    strategy: Literal["greedy", "sample", "beam"] = "greedy"
    max_tokens: int = Field(default=64, ge=1, le=100_000)
    beams: int = Field(default=4, ge=1, le=64)
    temperature: float = Field(default=1.0, gt=0.0)
    top_k: int = Field(default=0, ge=0)
    outputs: int = Field(default=1, ge=1, le=64)
    seed: int = 0

    @model_validator(mode="after")
    def _greedy_has_one(self) -> DecodingOptions:
        if self.strategy == "greedy" and self.outputs > 1:
            raise ValueError("several outputs need strategy sample or beam")
        return self


class NextTokenModel(Protocol):
    """A model that is writing."""

    def logits(self, tokens: Tensor) -> Tensor:
        """Numbers for the next token, [rows, V], when `tokens` [rows, n] have been written."""

    def choose(self, rows: Tensor) -> None:
        """Goes on with these rows, int64 [rows']; a row may come several times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpecialTokens:
    """Ids with a meaning for writing."""

    pad: int
    end: int | None
    never: tuple[int, ...] = ()


def generate_tokens(
    model: NextTokenModel, rows: int, how: DecodingOptions, marks: SpecialTokens, device: str
) -> Tensor:
    """Written tokens, int64 [rows * outputs, n <= max_tokens], the outputs of a text one after another.

    What follows a text's end is `marks.pad`.
    """
    import torch

    if how.strategy == "beam":
        return _beam_search(model, rows, how, marks, device)
    if how.outputs > 1:
        model.choose(torch.arange(rows, device=device).repeat_interleave(how.outputs))
    return _decode_stepwise(model, rows * how.outputs, how, marks, device)


def _decode_stepwise(
    model: NextTokenModel, rows: int, how: DecodingOptions, marks: SpecialTokens, device: str
) -> Tensor:
    import torch

    generator = torch.Generator(device).manual_seed(how.seed)
    tokens = torch.zeros((rows, 0), dtype=torch.int64, device=device)
    ended = torch.zeros(rows, dtype=torch.bool, device=device)
    for _ in range(how.max_tokens):
        logits = _mask_forbidden(model.logits(tokens), marks)
        chosen = logits.argmax(-1) if how.strategy == "greedy" else _sample_tokens(logits, how, generator)
        tokens = torch.cat([tokens, chosen.masked_fill(ended, marks.pad)[:, None]], dim=1)
        if marks.end is not None:
            ended = ended | (chosen == marks.end)
            if bool(ended.all()):
                break
    return tokens


def _sample_tokens(logits: Tensor, how: DecodingOptions, generator: torch.Generator) -> Tensor:
    import torch

    scaled = logits / how.temperature
    if how.top_k:
        least = scaled.topk(min(how.top_k, scaled.shape[-1])).values[:, -1:]
        scaled = scaled.masked_fill(scaled < least, float("-inf"))
    return torch.multinomial(scaled.softmax(-1), 1, generator=generator)[:, 0]


def _beam_search(
    model: NextTokenModel, rows: int, how: DecodingOptions, marks: SpecialTokens, device: str
) -> Tensor:
    """The texts with the highest mean log-probability a token, of those that W beams found."""
    import torch

    width = max(how.beams, how.outputs)
    model.choose(torch.arange(rows, device=device).repeat_interleave(width))
    tokens = torch.zeros((rows * width, 0), dtype=torch.int64, device=device)
    scores = torch.full((rows, width), float("-inf"), device=device)
    scores[:, 0] = 0.0  # all beams are the same at first: one goes on
    ended = torch.zeros((rows, width), dtype=torch.bool, device=device)
    lengths = torch.zeros((rows, width), device=device)
    base = torch.arange(rows, device=device)[:, None] * width
    for _ in range(how.max_tokens):
        steps = _mask_forbidden(model.logits(tokens), marks).log_softmax(-1).view(rows, width, -1)
        stay = torch.full_like(steps, float("-inf"))
        stay[..., marks.pad] = 0.0  # an ended text goes on at no cost, in one way
        total = scores[..., None] + torch.where(ended[..., None], stay, steps)
        grown = lengths + (~ended).float()
        best = (total / grown.clamp(min=1)[..., None]).flatten(1).topk(width).indices
        beam, token = best // steps.shape[-1], best % steps.shape[-1]
        kept = (base + beam).flatten()
        scores = total.flatten(1).gather(1, best)
        lengths, was = grown.gather(1, beam), ended.gather(1, beam)
        ended = was if marks.end is None else was | (token == marks.end)
        tokens = torch.cat([tokens[kept], token.flatten()[:, None]], dim=1)
        model.choose(kept)
        if bool(ended.all()):
            break
    return tokens.view(rows, width, -1)[:, : how.outputs].flatten(0, 1)


def _mask_forbidden(logits: Tensor, marks: SpecialTokens) -> Tensor:
    logits = logits.float()
    if marks.never:
        logits = logits.clone()
        logits[:, list(marks.never)] = float("-inf")
    return logits


def transformers_arguments(how: DecodingOptions) -> dict[str, float]:
    """The same wish for transformers' `generate`."""
    wish: dict[str, float] = {
        "max_new_tokens": how.max_tokens,
        "do_sample": how.strategy == "sample",
        "num_beams": max(how.beams, how.outputs) if how.strategy == "beam" else 1,
        "num_return_sequences": how.outputs,
    }
    if how.strategy == "sample":
        wish |= {"temperature": how.temperature, "top_k": how.top_k}
    return wish


def join_outputs(to_user: Callable[[Tensor], pd.DataFrame], tokens: Tensor) -> pd.DataFrame:
    """One row an input: the first output's columns, then the others', their names numbered from 2.

    Args:
        to_user: a frame for tokens [B, n].
        tokens: [B, outputs, n].
    """
    first, *others = [to_user(some) for some in tokens.unbind(1)]
    for k, frame in enumerate(others, start=2):
        first = first.join(frame.rename(columns={name: f"{name}_{k}" for name in frame.columns}))
    return first
