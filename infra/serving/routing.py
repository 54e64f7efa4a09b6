"""Which version answers a request: the champion, or for some the challenger, which can lose its share.

Pure decisions: nothing here waits, loads or sends.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

Role = Literal["champion", "challenger"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryRule:
    """When a challenger loses its share of the requests.

    Attributes:
        percent: of the requests, spread evenly: the fifth of a hundred goes to it, not five in a row.
        most_errors: within the newest `window` of its requests; one more and it answers none any longer.
    """

    percent: float
    most_errors: int = 2
    window: int = 200


@dataclass(slots=True, kw_only=True)
class Canary:
    """A challenger's share and how it has done so far."""

    rule: CanaryRule
    version: str | None = None
    undone: bool = False
    seen: int = 0
    outcomes: deque[bool] = field(default_factory=deque)

    def set_version(self, version: str | None) -> None:
        """Another version is the challenger: it begins anew."""
        if version != self.version:
            self.version, self.undone, self.outcomes = version, False, deque(maxlen=self.rule.window)

    def takes_next(self) -> bool:
        """Whether the next request goes to the challenger."""
        if self.version is None or self.undone or not self.rule.percent:
            return False
        before, self.seen = self.seen, self.seen + 1
        share = self.rule.percent / 100
        return int(self.seen * share) > int(before * share)

    def record_outcome(self, *, failed: bool) -> bool:
        """One of its requests has ended; whether it loses its share by that."""
        if self.undone or self.version is None:
            return False
        self.outcomes.append(failed)
        self.undone = sum(self.outcomes) > self.rule.most_errors
        return self.undone


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasStep:
    """What a follower does next with one alias.

    Attributes:
        kind: `stay`: nothing to do; `load`: another version stands there; `swap`: it is still loaded, and can
            answer at once; `keep`: the alias is gone or points at a refused version, so the old one answers.
        version: the version's key.
    """

    kind: Literal["stay", "load", "swap", "keep"]
    version: str | None = None


def next_step(*, wanted: str | None, answering: str | None, loaded: set[str], refused: set[str]) -> AliasStep:
    """What to do about an alias.

    Args:
        wanted: the version that it points at; None where it points nowhere.
        answering: the version that answers now.
        loaded: versions that every replica has.
        refused: versions that did not load or did not answer their example, and did not change since.
    """
    if wanted == answering:
        return AliasStep(kind="stay", version=answering)
    if wanted is None or wanted in refused:
        return AliasStep(kind="keep", version=answering)
    return AliasStep(kind="swap" if wanted in loaded else "load", version=wanted)


def agreement(champion: list[dict[str, object]], challenger: list[dict[str, object]]) -> list[bool]:
    """Row by row, whether two versions gave the same answer: the same label, or numbers within 1e-6 of each
    other relative to the larger."""
    if len(champion) != len(challenger):
        return [False] * len(champion)
    return [_is_same(_decision(a), _decision(b)) for a, b in zip(champion, challenger, strict=True)]


def _decision(record: dict[str, object]) -> object:
    for name in ("label", "prediction"):
        if name in record:
            return record[name]
    return record


def _is_same(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, (int, float)):
        return abs(one - other) <= 1e-6 * max(abs(one), abs(other), 1e-12)
    return one == other
