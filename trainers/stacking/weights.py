"""Weights of a stack: each member's parameters are views of rows of the stacked ones.

Small parameters lie side by side in one tensor, so that an optimizer's step is a few calls however many there
are; a large one is a tensor of its own, so that a table of words is looked up without a copy.

Shape legend: F members, P numbers of a block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_JOINT_NUMBERS = 1 << 14  # a parameter of more is a block of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a parameter lies: the block's number, and from where to where in its rows."""

    name: str
    block: int
    first: int
    last: int
    shape: torch.Size

    def view(self, rows: Tensor) -> Tensor:
        """[…, P] of the block as […, *shape], on the same memory."""
        return rows[..., self.first : self.last].view((*rows.shape[:-1], *self.shape))


def lay_out(tensors: Mapping[str, Tensor], *, joint: int = _JOINT_NUMBERS) -> list[Place]:
    """A place for each tensor.

    Args:
        tensors: one member's.
        joint: how many numbers a tensor has at most that shares its block with others of its type.
    """
    places, shared, widths = [], dict[torch.dtype, int](), list[int]()
    for name, tensor in tensors.items():
        small = tensor.numel() <= joint
        block = shared.get(tensor.dtype, len(widths)) if small else len(widths)
        if block == len(widths):
            widths.append(0)
        if small:
            shared[tensor.dtype] = block
        first = widths[block]
        widths[block] += tensor.numel()
        places.append(Place(name=name, block=block, first=first, last=widths[block], shape=tensor.shape))
    return places


class StackedTensors:
    """Tensors of modules of one structure, stacked block by block; the modules' own become views of them."""

    def __init__(self, places: Sequence[Place], like: Mapping[str, Tensor]) -> None:
        """Nobody is in yet.

        Args:
            places: from `lay_out`.
            like: one member's tensors by the same names.
        """
        self.places = places
        self._like = {place.name: like[place.name] for place in places}
        self.blocks: list[Tensor] = []

    @property
    def widths(self) -> list[int]:
        """P of each block."""
        widths: dict[int, int] = {}
        for place in self.places:
            widths[place.block] = max(widths.get(place.block, 0), place.last)
        return [widths[block] for block in sorted(widths)]

    def allocate(self, width: int) -> None:
        """New rows, [width, P] a block."""
        kinds = {place.block: self._like[place.name] for place in self.places}
        self.blocks = [
            torch.zeros(width, numbers, dtype=kinds[block].dtype, device=kinds[block].device)
            for block, numbers in enumerate(self.widths)
        ]

    def reorder(self, rows: Tensor) -> None:
        """Takes these rows, in this order; members' views are to be made anew."""
        self.blocks = [block.index_select(0, rows) for block in self.blocks]

    def leaves(self, *, gradients: bool) -> list[Tensor]:
        """Each parameter [F, …], on the blocks' memory."""
        found = [place.view(self.blocks[place.block]).detach() for place in self.places]
        return [leaf.requires_grad_() for leaf in found] if gradients else found

    def join_gradients(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """The leaves' gradients as blocks, [F, P] each."""
        parts: list[list[Tensor]] = [[] for _ in self.blocks]
        for place, gradient in zip(self.places, gradients, strict=True):
            parts[place.block].append(gradient.reshape(len(gradient), -1))
        return [own[0] if len(own) == 1 else torch.cat(own, dim=1) for own in parts]

    def write(self, row: int, tensors: Sequence[Tensor]) -> None:
        """A member's tensors, in the places' order, into its row."""
        with torch.no_grad():
            for place, tensor in zip(self.places, tensors, strict=True):
                place.view(self.blocks[place.block][row]).copy_(tensor)

    def read(self, row: int) -> list[Tensor]:
        """A member's tensors, views of its row."""
        return [place.view(self.blocks[place.block][row]) for place in self.places]


def tie_parameters(module: nn.Module, stacked: StackedTensors, row: int) -> None:
    """Makes the module's parameters views of its row; their values are then the row's."""
    own = dict(module.named_parameters())
    for place, view in zip(stacked.places, stacked.read(row), strict=True):
        own[place.name].data = view


def tie_buffers(module: nn.Module, stacked: StackedTensors, row: int) -> None:
    """The same of buffers, which have no `data` to replace."""
    for place, view in zip(stacked.places, stacked.read(row), strict=True):
        path, _, name = place.name.rpartition(".")
        module.get_submodule(path)._buffers[name] = view


def untie(module: nn.Module) -> None:
    """Gives a module memory of its own again."""
    for parameter in module.parameters():
        parameter.data = parameter.data.clone()
    for part in module.modules():
        for name, buffer in part._buffers.items():
            if buffer is not None:
                part._buffers[name] = buffer.clone()
