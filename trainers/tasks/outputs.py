"""Reading a module's outputs, and turning token ids back into text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer

    from trainers.types import Outputs, State

PADDING, UNKNOWN = 0, 1  # token ids that every vocabulary keeps for these
IGNORED = -100  # a target that no loss and no metric counts


def output_tensor(outputs: Outputs, name: str) -> torch.Tensor:
    """The outputs themselves, or the entry of that name where a module returns several."""
    return outputs[name] if isinstance(outputs, Mapping) else outputs


class TokenDecoder:
    """Token ids to text, by a family's state (see `trainers.tasks.rules_for`).

    Ids without a text of their own (padding, the ids in the state's `special_ids`, and all that follows
    its `end_id`) are left out.
    """

    def __init__(self, state: State, side: str = "") -> None:
        self._vocabulary = state.get(f"{side}vocabulary") or state.get("vocabulary")
        self._document = state.get(f"{side}tokenizer") or state.get("tokenizer")
        self._special = {PADDING, *state.get("special_ids", ())}
        self._end = state.get("end_id")
        self._joiner = str(state.get("joiner", " "))
        self._tokenizer: Tokenizer | None = None

    def decode(self, ids: Iterable[int]) -> str:
        """One text."""
        kept = self._content_ids(ids)
        if self._document is not None:
            if self._tokenizer is None:
                import json

                from tokenizers import Tokenizer

                document = self._document
                text = document if isinstance(document, str) else json.dumps(document)
                self._tokenizer = Tokenizer.from_str(text)
            return str(self._tokenizer.decode(kept))
        if self._vocabulary is not None:
            return self._joiner.join(str(self._vocabulary[i]) for i in kept)
        return self._joiner.join(map(str, kept))

    def _content_ids(self, ids: Iterable[int]) -> list[int]:
        kept: list[int] = []
        for i in ids:
            if i == self._end:
                break
            if i >= 0 and i not in self._special:
                kept.append(int(i))
        return kept
