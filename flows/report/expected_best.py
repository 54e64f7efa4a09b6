"""How good the best of so many trials is to be expected: what a smaller or larger budget would have given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from infra.spec import Direction


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedBest:
    """The best of n trials, for each n that was asked for: its mean and its standard deviation."""

    means: tuple[float, ...]
    deviations: tuple[float, ...]


def expected_best(
    values: Sequence[float], direction: Direction, counts: Sequence[int] | None = None
) -> ExpectedBest:
    """Expected best value of n = 1, …, len(values) trials drawn with replacement from these.

    With V the values, E[max of n] = Σ v (P(V ≤ v)^n - P(V < v)^n) over the distinct values v: Dodge,
    Gururangan, Card, Schwartz and Smith (2019), "Show Your Work: Improved Reporting of Experimental
    Results", EMNLP, https://aclanthology.org/D19-1224, with the variance of that distribution. A
    minimum is the maximum of the negatives.

    Args:
        values: one number a trial, all finite.
        counts: the n that are wanted; by default all of them, which takes time with thousands of values.
    """
    sign = 1.0 if direction == "maximize" else -1.0
    steps = _distribution([sign * value for value in values])
    moments = [_moments(steps, n) for n in counts or range(1, len(values) + 1)]
    return ExpectedBest(
        means=tuple(sign * mean for mean, _ in moments), deviations=tuple(std for _, std in moments)
    )


def _distribution(values: Sequence[float]) -> list[tuple[float, float, float]]:
    """Distinct values, ascending, each with P(V < v) and P(V <= v)."""
    steps, below = [], 0
    for value, same in groupby(sorted(values)):
        up_to = below + len(list(same))
        steps.append((value, below / len(values), up_to / len(values)))
        below = up_to
    return steps


def _moments(steps: Sequence[tuple[float, float, float]], n: int) -> tuple[float, float]:
    shares = [(value, up_to**n - below**n) for value, below, up_to in steps]
    mean = sum(value * share for value, share in shares)
    variance = sum((value - mean) ** 2 * share for value, share in shares)  # centred: no cancellation
    return mean, max(0.0, variance) ** 0.5


def worst_value(values: Sequence[float], direction: Direction) -> float:
    """What a trial that failed counts as."""
    return min(values) if direction == "maximize" else max(values)
