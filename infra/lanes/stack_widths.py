"""How wide a stack is to be: what the sweep file says, or what a few steps of several widths show."""

from __future__ import annotations

from infra.coordinator.messages import Assignment
from infra.lanes.attempt import AttemptRunner


class StackWidths:
    """Decides for one lane's process."""

    def __init__(self, runner: AttemptRunner) -> None:
        """Nothing was measured yet."""
        self._runner = runner

    def find_width(self, assignment: Assignment) -> int:
        """How many attempts beside and with this one are trained as one program; 1: alone."""
        if assignment.structure is None:
            return 1
        written = self._runner.spec.family(assignment.family).stack
        width = written if isinstance(written, int) else 1
        return width if assignment.stack_limit is None else min(width, assignment.stack_limit)
