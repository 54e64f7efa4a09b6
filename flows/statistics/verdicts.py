"""What a test of scores has found."""

from __future__ import annotations

from dataclasses import dataclass

from trainers.types import JsonObject

CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """An estimate of a mean and its two-sided confidence interval.

    Attributes:
        p_value: two-sided, of "the true mean is 0": for intervals of differences.
    """

    estimate: float
    low: float
    high: float
    confidence: float
    p_value: float | None = None

    def to_json(self) -> JsonObject:
        """All of it."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True, slots=True, kw_only=True)
class PairedComparison:
    """A challenger against a champion on the same examples.

    Attributes:
        difference: mean of challenger's minus champion's scores; above 0 the challenger is better.
        low, high: two-sided interval of the difference at `confidence`.
        p_value: one-sided, of "the challenger is better by no more than `margin`".
        margin: what the difference was tested against.
        examples: pairs.
        deviation: standard deviation of the differences, for `examples_needed`.
        method: the test's name.
        won, lost: examples on which the challenger's score was the higher, and the lower.
    """

    difference: float
    low: float
    high: float
    confidence: float
    p_value: float
    margin: float
    examples: int
    deviation: float
    method: str
    won: int
    lost: int

    @property
    def better(self) -> bool:
        """Whether the two-sided interval lies above the margin: half of what it may miss is on that side."""
        return self.low > self.margin

    @property
    def discordance(self) -> float:
        """The share of examples on which the two differ."""
        return (self.won + self.lost) / self.examples

    def to_json(self) -> JsonObject:
        """All of it, with `better`."""
        return {**{name: getattr(self, name) for name in self.__dataclass_fields__}, "better": self.better}
