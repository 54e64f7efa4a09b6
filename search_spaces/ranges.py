"""Ranges of numbers, as domains of parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from search_spaces.errors import SpaceError
from search_spaces.number_line import interpolate, plus_steps, slot, unique_values, unit_points, whole_steps
from search_spaces.values import ParamValue, StoredValue, is_number, is_whole, short_repr

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.distributions import BaseDistribution


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
            return self._step(round(steps))
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


def _definition(kind: str, fields: Mapping[str, ParamValue]) -> dict[str, ParamValue]:
    kept = {name: value for name, value in fields.items() if value is not None and value is not False}
    return {"type": kind, **{k: list(v) if isinstance(v, tuple) else v for k, v in kept.items()}}


def _check_inside(value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise SpaceError(f"it must be from {low:g} to {high:g}", short_repr(value))


def _unquote(value: ParamValue) -> str:
    return "write it without quotes" if isinstance(value, str) else ""
