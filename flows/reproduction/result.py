"""What `velodrome reproduce` found: recorded numbers beside those of the same training made again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from flows.terminal.json_results import PlainResult
from trainers.types import Params

Verdict = Literal["identical", "within-tolerance", "different"]
Reports = Mapping[int, Mapping[str, float]]

TOLERANCE = 0.01
_CLOCKED = ("seconds", "per_second", "latency_ms", "memory_bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation(PlainResult):
    """One number that came out otherwise. `epoch` is None for those of the kept epoch; `found` is None where
    it did not come out at all, `recorded` where it was not recorded."""

    also = ("relative",)

    metric: str
    epoch: int | None
    recorded: float | None
    found: float | None

    @property
    def relative(self) -> float:
        """The difference as a share of the larger of the two; infinite where one is missing."""
        if self.recorded is None or self.found is None:
            return math.inf
        largest = max(abs(self.recorded), abs(self.found))
        return abs(self.recorded - self.found) / largest if largest else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstance:
    """Something around the training that is not as it was: `commit`, a package's version, `device`."""

    name: str
    recorded: str
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reproduction(PlainResult):
    """A run trained again.

    Attributes:
        role: `search` or `confirm`; `number` counts among the family's trials of that role.
        verdict: `identical`: every number of every epoch and, where a model was kept, every bit of its
            weights; `within-tolerance`: the values that the run is judged by differ by no more than the
            tolerance, relatively; `different`.
        compared: how many numbers; `deviations`: those that came out otherwise, the largest first.
        weights: whether the kept model's weights are the same to the bit; None where none was kept.
        circumstances: what is not as it was.
    """

    sweep: str
    family: str
    number: int
    role: str
    seed: int
    params: Params
    epochs: int
    verdict: Verdict
    tolerance: float
    judged: tuple[Deviation, ...]
    compared: int
    deviations: tuple[Deviation, ...]
    weights: bool | None
    circumstances: tuple[Circumstance, ...]


def is_repeatable(name: str) -> bool:
    """Whether a metric can come out the same: not what a clock or the system measured."""
    return not name.startswith("system/") and not name.endswith(_CLOCKED)


def pair_reports(recorded: Reports, found: Reports) -> list[Deviation]:
    """Every repeatable number of every epoch, as it was and as it came out."""
    return [
        Deviation(metric=name, epoch=epoch, recorded=before.get(name), found=after.get(name))
        for epoch in sorted(recorded.keys() | found.keys())
        for before, after in ((recorded.get(epoch, {}), found.get(epoch, {})),)
        for name in sorted(before.keys() | after.keys())
        if is_repeatable(name)
    ]


def pair_kept_epoch(recorded: Mapping[str, float], found: Mapping[str, float]) -> list[Deviation]:
    """The numbers of the kept epoch."""
    return [
        Deviation(metric=name, epoch=None, recorded=recorded.get(name), found=found.get(name))
        for name in sorted(recorded.keys() | found.keys())
        if is_repeatable(name)
    ]


def select_deviations(compared: Sequence[Deviation]) -> list[Deviation]:
    """Those that are not the same to the bit, the largest first."""
    return sorted(
        (entry for entry in compared if entry.recorded != entry.found),
        key=lambda entry: (-entry.relative, entry.epoch or 0, entry.metric),
    )


def select_goal_deviations(kept: Sequence[Deviation], goals: Sequence[str]) -> Iterator[Deviation]:
    """The numbers that decide on the tolerance: those of the goals."""
    return (entry for entry in kept if entry.metric in goals)


def decide_verdict(
    deviations: Sequence[Deviation], judged: Sequence[Deviation], weights: bool | None, tolerance: float
) -> Verdict:
    """Identical, within the tolerance, or different; without any number to judge by, different."""
    if not deviations and weights is not False and judged:
        return "identical"
    close = bool(judged) and all(entry.relative <= tolerance for entry in judged)
    return "within-tolerance" if close else "different"
