"""Values that `torch.func.vmap` shows to a module as those of one member, where they are those of a stack.

vmap has no public way to the whole from inside, which a cut to the longest text of a batch needs, nor from a
whole to a member's part, which masks drawn member by member need.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from contextvars import ContextVar

import torch
from torch import Tensor
from torch._functorch import vmap as torch_vmap
from torch._functorch.pyfunctorch import temporarily_pop_interpreter_stack

from trainers.types import Outputs

_functorch = torch._C._functorch


# What `most_in_stack` found of each member last: what a member would have drawn by itself has that length.
MEMBER_LENGTHS: ContextVar[Sequence[int]] = ContextVar("MEMBER_LENGTHS", default=())


def call_for_members(
    call: Callable[[Sequence[Tensor]], Outputs], stacked: Sequence[Tensor], shared: Sequence[Tensor] = ()
) -> Outputs:
    """What `torch.func.vmap` makes of the call, without looking anew at how its arguments are nested: that
    took a quarter of a small module's step.

    Args:
        call: gets a member's part of each of the stacked ones, then the shared ones.
        stacked: [members, …] each.
        shared: the same for all members.
    """
    torch_vmap.lazy_load_decompositions()  # type: ignore[attr-defined]  # which it does not export
    members = len(stacked[0])
    level = _functorch._vmap_increment_nesting(members, "error")
    try:
        found = call([*(_functorch._add_batch_dim(one, 0, level) for one in stacked), *shared])
        if isinstance(found, Tensor):
            return _whole_of(found, level, members)
        return {name: _whole_of(one, level, members) for name, one in found.items()}
    finally:
        _functorch._vmap_decrement_nesting()


def _whole_of(value: Tensor, level: int, members: int) -> Tensor:
    whole: Tensor = _functorch._remove_batch_dim(value, level, members, 0)
    return whole


def most_in_stack(lengths: Tensor) -> int:
    """The largest of lengths, at least 1; of a stack's that of all members: what they have is cut alike."""
    if not _functorch.is_batchedtensor(lengths):
        return max(int(lengths.max()), 1)
    own = join_stack(lengths).flatten(1).amax(dim=1).clamp(min=1).tolist()
    MEMBER_LENGTHS.set(own)
    return int(max(own))


def join_stack(value: Tensor) -> Tensor:
    """A member's […] as the whole, [members, …]."""
    whole: Tensor = _functorch.get_unwrapped(value)
    return whole.movedim(_functorch.maybe_get_bdim(value), 0)


def is_stacked(value: Tensor) -> bool:
    """Whether each member has its own."""
    return bool(_functorch.is_batchedtensor(value))


def split_stack(whole: Tensor, like: Tensor) -> Tensor:
    """[members, …] as the member's own […], beside a value of the same vmap."""
    found: Tensor = _functorch._add_batch_dim(whole, 0, _functorch.maybe_get_level(like))
    return found


def outside_stack() -> AbstractContextManager[object]:
    """What is called in it is called as outside vmap, which would refuse to draw random numbers."""
    return temporarily_pop_interpreter_stack()
