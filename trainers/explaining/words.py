"""Words of texts, whose vectors stand before captum, and how they take the place of a module's own.

Shape legend: B examples, L tokens, D numbers a token.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainers.errors import InputError
from trainers.inputs.questions import trim_blanks

if TYPE_CHECKING:
    import torch
    from tokenizers import Encoding
    from torch import nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A word of a text: its tokens' places, first and behind the last, and where it stands."""

    tokens: tuple[int, int]
    start: int
    end: int


def merge_pieces(
    encoding: Encoding, text: str, *, token: int = 0, start: int = 0, most: int | None = None
) -> list[Word]:
    """The words of a text, pieces put together, without the blanks that some tokenizers put into one.

    Args:
        token, start: places of its first token and first character among what is explained.
        most: tokens of it that the model reads.
    """
    spans: list[tuple[int, int, int, int]] = []  # first token and the one behind, first character and so on
    last: int | None = None
    pieces = list(zip(encoding.word_ids, encoding.offsets, strict=True))[:most]
    for place, (word, (first, end)) in enumerate(pieces, start=token):
        if word is None or first == end:
            last = None
        elif word == last:
            spans[-1] = (spans[-1][0], place + 1, spans[-1][2], end)
        else:
            spans.append((place, place + 1, first, end))
            last = word
    found = []
    for begin, behind, first, end in spans:
        held = trim_blanks(text, first, end)
        first, end = held if held[0] < held[1] else (first, end)
        found.append(Word(tokens=(begin, behind), start=start + first, end=start + end))
    return found


def word_vectors(module: nn.Module, tokens: int) -> nn.Embedding:
    """What turns tokens into vectors; of a pair's models, on the side that reads."""
    from torch import nn

    pairs = getattr(getattr(module, "config", None), "is_encoder_decoder", False)
    encoder: Any = module.get_encoder() if pairs else module  # type: ignore[operator]
    known = getattr(encoder, "get_input_embeddings", None)
    found = known() if known is not None else None
    candidates = [found] if found is not None else [
        m for m in module.modules() if isinstance(m, nn.Embedding) and m.num_embeddings == tokens
    ]  # fmt: skip
    if not candidates or not isinstance(candidates[0], nn.Embedding):
        raise InputError(
            "a model of texts must have a vector for each of its tokens", "no such embedding",
            "explain one of Velodrome's own families",
        )  # fmt: skip
    return candidates[0]


@contextmanager
def replaced_outputs(modules: Sequence[nn.Module], values: Sequence[torch.Tensor]) -> Iterator[None]:
    """Within the block each module gives what is given here when it is first called, cut as its own output is
    along the second dimension (texts lose what lies beyond the longest of a batch). What writes reads its own
    words by the same module later."""
    with ExitStack() as hooks:
        for module, value in zip(modules, values, strict=True):
            left = [value]

            def replace(
                _module: nn.Module, _given: Any, own: torch.Tensor, left: list[torch.Tensor] = left
            ) -> Any:
                if not left:
                    return own
                value = left.pop()
                return value[:, : own.shape[1]] if own.dim() == 3 else value

            hooks.callback(module.register_forward_hook(replace).remove)
        yield
