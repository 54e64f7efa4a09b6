"""How a family's trials come together in stacks: those of one structure are asked for one after another.

A block is so many trials of one structure, which differ in numbers alone. Which block a trial belongs to
depends on its place in the family and on nothing that is measured, so that the trials are the same ones
whether they are then trained as a stack or one by one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainers.stacking.structure import NUMBERS

if TYPE_CHECKING:
    from infra.spec import FamilySpec, Stack
    from search_spaces.space import Space

LARGEST_BLOCK = 64
_SMALLEST_BLOCK = 4
_BLOCKS_OF_A_SIZE = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Where a trial stands: the number of its block, its position there, and the block's size."""

    number: int
    position: int
    size: int


def find_block(stack: Stack | None, index: int) -> Block:
    """The block of the trial at an index of its family.

    With `auto` the first blocks are small and later ones larger, four of each size up to 64: among so many
    trials there are about twice their square root of structures, however far a sweep is extended later.
    """
    if isinstance(stack, int):
        return Block(number=index // stack, position=index % stack, size=stack)
    if stack != "auto":
        return Block(number=index, position=0, size=1)
    before, first, size = 0, 0, _SMALLEST_BLOCK
    while size < LARGEST_BLOCK and index >= first + _BLOCKS_OF_A_SIZE * size:
        before, first, size = before + _BLOCKS_OF_A_SIZE, first + _BLOCKS_OF_A_SIZE * size, 2 * size
    number, position = divmod(index - first, size)
    return Block(number=before + number, position=position, size=size)


def block_of(family: FamilySpec, number: int) -> Block:
    """The block of a family's trial; each of those that the search starts with is one of its own."""
    index = number - len(family.start_with)
    return find_block(family.stack if index >= 0 else None, index)


def structural_names(space: Space) -> frozenset[str]:
    """The searched parameters that make another structure."""
    return frozenset(parameter.name for parameter in space.searched_parameters) - NUMBERS
