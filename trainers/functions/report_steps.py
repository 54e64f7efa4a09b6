"""The steps that an objective reports by, kept in the trial's folder for a later attempt to begin by."""

from __future__ import annotations

import re
from pathlib import Path

_NAME = "report_steps.txt"


class ReportSteps:
    """Which step each report was of. A step is noted before its report is told, so that none is missing."""

    def __init__(self, directory: Path) -> None:
        """Of the trial that this is the folder of."""
        self._path = directory / _NAME

    def note(self, report: int, step: int) -> None:
        """Notes the step of a report, from 1."""
        with self._path.open("a") as file:
            file.write(f"\n{report} {step}")  # begins a line: a former one may be torn

    def count_before(self, step: int, reports: int) -> int:
        """How many of so many reports are of steps before this one.

        Where not all their steps are known, steps count from 0.
        """
        text = self._path.read_text() if self._path.is_file() else ""
        found = re.findall(r"^(\d+) (-?\d+)$", text, re.MULTILINE)
        steps = {int(report): int(of) for report, of in found if int(report) <= reports}
        return sum(of < step for of in steps.values()) if len(steps) == reports else step
