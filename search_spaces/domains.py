"""What one parameter may be: a range of numbers, a list of choices, or a constant.

Every domain answers the same questions: its Optuna distribution, its value at a point of the unit interval,
its points on a grid, and whether a value belongs to it. Values are those that training gets; `encode` and
`decode` go to and from what Optuna's storage can hold.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NoReturn, Protocol, TypeVar

from search_spaces.errors import SpaceError
from search_spaces.number_line import interpolate, plus_steps, slot, unique_values, unit_points, whole_steps
from search_spaces.values import (
    ParamValue,
    StoredValue,
    canonical_text,
    index_of,
    is_number,
    is_whole,
    short_repr,
)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class FloatRange:
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    points: int | None = None
    values: tuple[float, ...] | None = None

    @property
    def is_searched(self) -> bool:
        return True

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import FloatDistribution

        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    def suggest(self, trial: Trial, name: str) -> float:
        value: float = trial.suggest_float(name, self.low, self.high, log=self.log, step=self.step)
        return value

    def at(self, u: float) -> float:
        if self.step is not None:
            return self._step(slot(u, self._steps() + 1))
        return interpolate(self.low, self.high, u, log=self.log)

    def grid(self) -> Sequence[float]:
        """As `Domain`: the values as written, or so many points from end to end, or every step."""
        if self.values is not None:
            return self.values
        if self.points is not None:
            return unique_values(
                interpolate(self.low, self.high, u, log=self.log) for u in unit_points(self.points)
            )
        if self.step is not None:
            return [self._step(index) for index in range(self._steps() + 1)]
        if self.low == self.high:
            return [self.low]
        raise SpaceError(
            "a grid needs points, values or a step for a float range",
            f"low {self.low:g}, high {self.high:g} alone",
            "add points: 5, or values: [...]",
        )

    def read(self, value: ParamValue) -> float:
        """As `Domain`: a number within the bounds and, where there are steps, on one of them."""
        if not is_number(value):
            raise SpaceError("it must be a number", short_repr(value), _unquote(value))
        _check_inside(value, self.low, self.high)
        if self.step is not None:
            steps = (value - self.low) / self.step
            if abs(steps - round(steps)) > 1e-6:
                raise SpaceError(
                    f"it must be {self.low:g} plus whole steps of {self.step:g}", short_repr(value)
                )
        return float(value)

    def encode(self, value: ParamValue) -> float:
        return self.read(value)

    def decode(self, stored: StoredValue) -> float:
        return float(stored)

    def to_json(self) -> dict[str, ParamValue]:
        return _definition("float", asdict(self))

    def _steps(self) -> int:
        return whole_steps(self.low, self.high, self.step or 1.0)

    def _step(self, index: int) -> float:
        return plus_steps(self.low, index, self.step or 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class IntRange:
    """Whole numbers from `low` to `high`, both included."""

    low: int
    high: int
    log: bool = False
    step: int = 1
    points: int | None = None
    values: tuple[int, ...] | None = None

    @property
    def is_searched(self) -> bool:
        return True

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import IntDistribution

        return IntDistribution(self.low, self.high, log=self.log, step=self.step)

    def suggest(self, trial: Trial, name: str) -> int:
        value: int = trial.suggest_int(name, self.low, self.high, log=self.log, step=self.step)
        return value

    def at(self, u: float) -> int:
        if self.log:  # half a number beyond each end, so that the ends are as likely as the rest
            return self._round(interpolate(self.low - 0.5, self.high + 0.5, u, log=True))
        return self.low + self.step * slot(u, (self.high - self.low) // self.step + 1)

    def grid(self) -> Sequence[int]:
        """As `Domain`: the values as written, or so many points from end to end, or every step."""
        if self.values is not None:
            return self.values
        if self.points is not None:
            inside = (interpolate(self.low, self.high, u, log=self.log) for u in unit_points(self.points))
            return unique_values(self._round(value) for value in inside)
        return range(self.low, self.high + 1, self.step)

    def read(self, value: ParamValue) -> int:
        """As `Domain`: a whole number (3.0 is one) within the bounds and on a step."""
        whole = int(value) if isinstance(value, float) and value.is_integer() else value
        if not is_whole(whole):
            raise SpaceError("it must be a whole number", short_repr(value), _unquote(value))
        _check_inside(whole, self.low, self.high)
        if (whole - self.low) % self.step:
            raise SpaceError(f"it must be {self.low} plus whole steps of {self.step}", short_repr(value))
        return int(whole)

    def encode(self, value: ParamValue) -> int:
        return self.read(value)

    def decode(self, stored: StoredValue) -> int:
        return int(stored)

    def to_json(self) -> dict[str, ParamValue]:
        document = _definition("int", asdict(self))
        return document if self.step != 1 else {k: v for k, v in document.items() if k != "step"}

    def _round(self, value: float) -> int:
        return min(max(round(value), self.low), self.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """One of a list of values of any JSON type."""

    choices: tuple[ParamValue, ...]

    @property
    def is_searched(self) -> bool:
        return True

    @property
    def stored_choices(self) -> tuple[StoredValue, ...]:
        """What Optuna holds for each choice: the choices themselves where it can tell them apart, else texts.

        Optuna keeps only numbers, booleans and text, and takes True, 1 and 1.0 for the same.
        """
        simple = [choice for choice in self.choices if isinstance(choice, (str, int, float))]
        if len(set(simple)) == len(self.choices):
            return tuple(simple)
        texts = tuple(c if isinstance(c, str) else canonical_text(c) for c in self.choices)
        return texts if len(set(texts)) == len(texts) else tuple(canonical_text(c) for c in self.choices)

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.stored_choices)

    def suggest(self, trial: Trial, name: str) -> ParamValue:
        chosen = trial.suggest_categorical(name, self.stored_choices)
        assert chosen is not None  # none of what is stored is
        return self.decode(chosen)

    def at(self, u: float) -> ParamValue:
        return _copy(self.choices[slot(u, len(self.choices))])

    def grid(self) -> Sequence[ParamValue]:
        return self.choices

    def read(self, value: ParamValue) -> ParamValue:
        index = index_of(self.choices, value)
        if index is None:
            listed = ", ".join(short_repr(choice) for choice in self.choices[:12])
            raise SpaceError("it must be one of its choices", short_repr(value), f"choices are {listed}")
        return self.choices[index]

    def encode(self, value: ParamValue) -> StoredValue:
        index = index_of(self.choices, value)
        if index is None:
            raise SpaceError("it must be one of its choices", short_repr(value))
        return self.stored_choices[index]

    def decode(self, stored: StoredValue) -> ParamValue:
        index = index_of(self.stored_choices, stored)
        if index is None:
            raise SpaceError("it must be one of its choices", short_repr(stored))
        return _copy(self.choices[index])

    def to_json(self) -> dict[str, ParamValue]:
        return {"type": "categorical", "choices": list(self.choices)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """One value, not searched."""

    value: ParamValue

    @property
    def is_searched(self) -> bool:
        return False

    def distribution(self) -> NoReturn:
        raise SpaceError("a constant has no distribution", short_repr(self.value))

    def suggest(self, trial: Trial, name: str) -> ParamValue:
        return self.at(0.0)

    def at(self, u: float) -> ParamValue:
        return _copy(self.value)

    def grid(self) -> Sequence[ParamValue]:
        return (self.value,)

    def read(self, value: ParamValue) -> ParamValue:
        if index_of((self.value,), value) is None:
            raise SpaceError(f"it must be {short_repr(self.value)}, its constant", short_repr(value))
        return self.value

    def encode(self, value: ParamValue) -> NoReturn:
        raise SpaceError("a constant is not stored", short_repr(self.value))

    def decode(self, stored: StoredValue) -> ParamValue:
        return self.at(0.0)

    def to_json(self) -> dict[str, ParamValue]:
        return {"type": "constant", "value": self.value}


def _copy(value: ParamValue) -> ParamValue:
    """So that training may change a list that it was given."""
    return json.loads(canonical_text(value)) if isinstance(value, (list, dict)) else value


def _definition(kind: str, fields: Mapping[str, ParamValue]) -> dict[str, ParamValue]:
    kept = {name: value for name, value in fields.items() if value is not None and value is not False}
    return {"type": kind, **{k: list(v) if isinstance(v, tuple) else v for k, v in kept.items()}}


def _check_inside(value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise SpaceError(f"it must be from {low:g} to {high:g}", short_repr(value))


def _unquote(value: ParamValue) -> str:
    return "write it without quotes" if isinstance(value, str) else ""
