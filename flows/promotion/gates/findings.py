"""What one gate found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from flows.terminal.json_results import PlainResult

Verdict = Literal["passed", "refused", "not applicable", "not tried"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateFinding(PlainResult):
    """One line of the table.

    Attributes:
        gate: its name; of a class or a slice with its own name after it.
        limit: what must hold, in words.
        found: what was found, in words.
        by: by how much it is missed, or passed.
        needed: how many examples a decision would need; None where more of them would decide nothing.
        value, bound: the numbers behind `found` and `limit`, where they are single numbers.
        do: what would help, where it refuses.
    """

    gate: str
    verdict: Verdict
    limit: str = ""
    found: str = ""
    by: str = ""
    needed: int | None = None
    value: float | None = None
    bound: float | None = None
    do: str = ""

    @property
    def is_refused(self) -> bool:
        """Whether the champion cannot move because of it."""
        return self.verdict == "refused"

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> GateFinding:
        """The inverse of `to_json`."""
        return cls(**document)


def gate_finding(gate: str, holds: bool, **words: Any) -> GateFinding:
    """Passed where it holds, else refused; only then `do` says what would help."""
    given = {**words, "do": "" if holds else words.get("do", "")}
    return GateFinding(gate=gate, verdict="passed" if holds else "refused", **given)


def without_champion(gate: str) -> GateFinding:
    """A gate that needs a champion where there is none."""
    return GateFinding(gate=gate, verdict="not applicable", found="no champion yet")


def not_tried(gate: str, why: str) -> GateFinding:
    """A gate that was not reached."""
    return GateFinding(gate=gate, verdict="not tried", found=why)
