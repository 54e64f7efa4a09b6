"""What one parameter may be: a range of numbers, a list of choices, or a constant.

Every domain answers the same questions: its Optuna distribution, its value at a point of the unit interval,
its points on a grid, and whether a value belongs to it. Values are those that training gets; `encode` and
`decode` go to and from what Optuna's storage can hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from search_spaces.values import ParamValue, StoredValue

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.distributions import BaseDistribution

T = TypeVar("T", covariant=True)


class Domain(Protocol[T]):
    """What a parameter may be: values of type `T`."""

    @property
    def is_searched(self) -> bool:
        """False for a constant."""

    def distribution(self) -> BaseDistribution:
        """The Optuna distribution."""

    def suggest(self, trial: Trial, name: str) -> T:
        """A value drawn by an Optuna trial."""

    def at(self, u: float) -> T:
        """The value at `u` of the unit interval."""

    def grid(self) -> Sequence[T]:
        """The values on a grid; `SpaceError` where there would be infinitely many."""

    def read(self, value: ParamValue) -> T:
        """The value as this domain holds it; `SpaceError` where it does not belong."""

    def encode(self, value: ParamValue) -> StoredValue:
        """What Optuna's storage holds for the value."""

    def decode(self, stored: StoredValue) -> T:
        """The inverse of `encode`."""

    def to_json(self) -> dict[str, ParamValue]:
        """Plain JSON types only."""
