"""How a model is made smaller, as people write it: `int8`, `bf16`, `prune:0.7`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, cast

from trainers.errors import InputError

Method = Literal["int8", "bf16", "prune"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressionMethod:
    """One way; `share` of the weights becomes zero where it prunes."""

    method: Method
    share: float = 0.0

    @property
    def text(self) -> str:
        """As it is written."""
        return f"prune:{self.share:g}" if self.method == "prune" else self.method


def parse_method(text: str) -> CompressionMethod:
    """What is meant.

    Raises:
        InputError: none of the ways, or a share that is not between 0 and 1.
    """
    name, colon, rest = text.partition(":")
    if name in ("int8", "bf16") and not colon:
        return CompressionMethod(method=cast("Method", name))
    try:
        share = float(rest) if name == "prune" else math.nan
    except ValueError:
        share = math.nan
    if not 0 < share < 1:
        raise InputError(
            "--how must be int8, bf16, or prune with a share between 0 and 1", repr(text), "--how prune:0.7"
        )
    return CompressionMethod(method="prune", share=share)
