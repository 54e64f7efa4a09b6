"""How wide a stack is to be: what the sweep file says, or what a few steps of several widths show."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from infra.coordinator.messages import Assignment, StackChoice
from infra.lanes.attempt import AttemptRunner

WIDTHS = (1, 4, 16, 64)
LEAST_GAIN = 1.1  # below it what filling and emptying a stack costs is not won back


class StackWidths:
    """Decides for one lane's process, once a structure."""

    def __init__(self, runner: AttemptRunner, record: Callable[[StackChoice], None]) -> None:
        """Nothing was measured yet.

        Args:
            record: called with each choice.
        """
        self._runner, self._record = runner, record
        self._choices: dict[tuple[str, str], StackChoice] = {}

    def find_width(self, assignment: Assignment) -> int:
        """How many attempts beside and with this one are trained as one program; 1: alone."""
        if assignment.structure is None:
            return 1
        place = (assignment.family, assignment.structure)
        if place not in self._choices:
            self._choices[place] = self._choose(assignment, assignment.structure)
            self._record(self._choices[place])
        width = self._choices[place].width
        return width if assignment.stack_limit is None else min(width, assignment.stack_limit)

    def _choose(self, assignment: Assignment, structure: str) -> StackChoice:
        written = self._runner.spec.family(assignment.family).stack
        width, gain, reason = (
            (written, None, "by search.stack") if isinstance(written, int) else (1, None, "")
        )
        return StackChoice(
            family=assignment.family, structure=structure, width=width, gain=gain, reason=reason
        )


def choose_width(seconds: Mapping[int, float]) -> tuple[int, float]:
    """The width at which a trial's step takes least, and how many times less than one by one.

    Args:
        seconds: of a step, for each of those that are stacked, by how many are; one by one among them.
    """
    best = min(seconds, key=lambda width: seconds[width])
    gain = seconds[1] / seconds[best]
    return (best, gain) if gain >= LEAST_GAIN else (1, 1.0)
