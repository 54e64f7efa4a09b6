"""Which trials can be trained as one stacked program: those that differ in numbers alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from trainers.family import Family
from trainers.types import Params

# What members of one stack may differ in, beside their seeds; everything else decides shapes or arithmetic.
NUMBERS = frozenset({
    "learning_rate", "optimizer", "momentum", "nesterov", "beta1", "beta2", "weight_decay", "l1",
    "gradient_clip", "weight_clip", "label_smoothing", "dropout", "schedule", "warmup",
})  # fmt: skip


def searched_structure(space: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[str]:
    """The parameters of a space, as its JSON has them, of which each value makes a structure."""
    parameters = space.get("parameters", ())
    return [str(p["name"]) for p in parameters if p.get("type") != "constant" and p["name"] not in NUMBERS]


def structure_key(family: Family, params: Params) -> str | None:
    """A short name of the structure; trials with the same one may be members of one stack.

    Args:
        family: with the options that the trial's values choose (`Family.of_trial`).
        params: complete hyper-parameters (`Family.complete`).

    Returns:
        None where the configuration is trained by itself; `why_not` then says why.
    """
    if why_not(family, params) is not None:
        return None
    kind = type(family)
    document = {
        "family": family.name or f"{kind.__module__}:{kind.__qualname__}",
        "options": family.options.model_dump(mode="json"),
        "params": {name: value for name, value in params.items() if name not in NUMBERS},
    }
    text = json.dumps(document, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def why_not(family: Family, params: Params) -> str | None:
    """Why such a configuration cannot be a member of a stack; None where it can."""
    kind = type(family)
    if kind.train_step is not Family.train_step:
        return "it makes its own training steps"
    if family.options.privacy is not None:
        return "it trains privately, each step over examples of its own draw"
    if not family.stackable:
        return family.unstackable or "its class does not say `stackable = True`"
    return None
