"""A family whose training begins with given weights and leaves at zero what is zero."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from trainers.compression.packing import hold_zeros
from trainers.family import Family

if TYPE_CHECKING:
    import torch

    from trainers.types import Tensors


def start_pruned(family: Family, weights: Tensors) -> Family:
    """The family, which begins with the weights of a pruned module."""

    class Pruned(type(family)):  # type: ignore[misc]  # a class that is known at run time alone
        def start(self, module: torch.nn.Module) -> None:
            module.load_state_dict(dict(weights))
            hold_zeros(module)

    made = copy.copy(family)
    made.__class__ = Pruned
    return made
