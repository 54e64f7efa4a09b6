"""Places between two numbers: by steps, by shares of the way, on a plain or a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Iterable
from decimal import Decimal
from typing import TypeVar

T = TypeVar("T")

_EXACT = 2.0**53  # Optuna computes in floats: larger whole numbers would be rounded


def whole_steps(low: float, high: float, step: float) -> int:
    """How many whole steps fit between the bounds, without the noise of binary fractions."""
    return int((Decimal(str(high)) - Decimal(str(low))) // Decimal(str(step)))


def last_step(low: float, high: float, step: float) -> float:
    """The largest value that whole steps from `low` reach without passing `high`."""
    return plus_steps(low, whole_steps(low, high, step), step)


def plus_steps(low: float, count: int, step: float) -> float:
    """`low` and so many steps, without the noise of binary fractions."""
    return float(Decimal(str(low)) + count * Decimal(str(step)))


def is_exact(value: int) -> bool:
    """Whether a float holds the whole number exactly."""
    return abs(value) <= _EXACT


def interpolate(low: float, high: float, u: float, *, log: bool) -> float:
    """The number at `u` of the unit interval, on a plain or a logarithmic scale; the ends exactly."""
    if u <= 0.0 or low == high:
        return low
    if u >= 1.0:
        return high
    if log:
        value = math.exp(math.log(low) + u * (math.log(high) - math.log(low)))
    else:
        value = low + u * (high - low)
    return min(max(float(f"{value:.12g}"), low), high)


def slot(u: float, count: int) -> int:
    """Which of `count` equal parts of the unit interval `u` is in."""
    return min(int(u * count), count - 1)


def unit_points(points: int) -> list[float]:
    """So many points of the unit interval, both ends among them."""
    return [index / (points - 1) for index in range(points)]


def unique_values(values: Iterable[T]) -> list[T]:
    """Each value once, in order."""
    return list(dict.fromkeys(values))
