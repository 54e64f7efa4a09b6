"""Which tokens of each text a model is to find again: the same ones in every pass over the validation split.

Shape legend: N texts, L tokens of a text.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from trainers.errors import InputError
from trainers.types import Array

SHARE = 0.15  # of a text's tokens
IGNORED = -100
_MASKS = ("[MASK]", "<mask>")
Ids = npt.NDArray[np.int64]


class HidingTokens(TypedDict):
    """The token that stands for a hidden one, and all that are never hidden, it among them."""

    mask_id: int
    special_ids: list[int]


def special_tokens(document: str) -> HidingTokens:
    """What a tokenizer says of its tokens.

    Raises:
        InputError: it has no token that stands for a hidden one.
    """
    added = json.loads(document).get("added_tokens", [])
    special = {entry["content"]: int(entry["id"]) for entry in added if entry.get("special")}
    mask = next((special[name] for name in _MASKS if name in special), None)
    if mask is None:
        raise InputError(
            "masked words need a tokenizer with a token for them", f"none of {', '.join(_MASKS)}",
            "take a model of BERT's kind", key=("options", "pretrained"),
        )  # fmt: skip
    return {"mask_id": mask, "special_ids": sorted(special.values())}


def hide_tokens(
    ids_NL: Ids, mask_NL: Array, *, mask_id: int, special_ids: Sequence[int], tokens: int
) -> tuple[Ids, Ids]:
    """The texts with some tokens hidden, and the tokens to be found (-100 elsewhere).

    As J. Devlin et al. (2019, section 3.1) hide them, but exactly 15 % of each text and one at least: of
    these 80 % are masked, 10 % are another token, 10 % stay. Chance comes from each text's own tokens.

    Args:
        mask_NL: true where there is text.
        tokens: entries of the vocabulary.
    """
    hidden, wanted = ids_NL.copy(), np.full_like(ids_NL, IGNORED)
    others = np.setdiff1d(np.arange(tokens), special_ids)
    allowed = np.asarray(mask_NL, np.bool_) & ~np.isin(ids_NL, special_ids)
    for row, ids in enumerate(ids_NL):
        places = np.flatnonzero(allowed[row])
        if not len(places):
            continue
        digest = hashlib.blake2b(ids[places].tobytes(), digest_size=8).digest()
        chance = np.random.default_rng(int.from_bytes(digest, "little"))
        chosen = chance.choice(places, hidden_count(len(places)), replace=False)
        how = chance.random(len(chosen))
        drawn = chance.choice(others, len(chosen))
        wanted[row, chosen] = ids[chosen]
        hidden[row, chosen] = np.where(how < 0.8, mask_id, np.where(how < 0.9, drawn, ids[chosen]))
    return hidden, wanted


def hidden_count(tokens: int) -> int:
    """How many of a text's tokens are hidden."""
    return max(1, round(SHARE * tokens))
