"""What a trial notes of its reports in its own folder, for a later attempt to begin by."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

_NAME, _UNTOLD = "report_steps.txt", "reports_untold.jsonl"


class ReportSteps:
    """The steps that an objective reports by. A step is noted before its report is told, so that none is
    missing."""

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


class UntoldReports:
    """Reports that follow each other too fast for each to be told at once: a process that is killed before
    they are leaves them here. A file that the code has written beside them may say that they were made."""

    def __init__(self, directory: Path) -> None:
        """Of the trial that this is the folder of."""
        self._path = directory / _UNTOLD
        self._has_notes = False

    def note(self, report: int, metrics: Mapping[str, float]) -> bool:
        """Notes a report, from 1. False: the disk takes nothing, so it must be told."""
        self._has_notes = True
        try:
            with self._path.open("a") as file:
                file.write(
                    f"\n{json.dumps([report, dict(metrics)])}"
                )  # begins a line: a former one may be torn
        except OSError:
            return False
        return True

    def read_after(self, reports: int) -> Iterator[Mapping[str, float]]:
        """Those that follow the first so many without a gap."""
        text = self._path.read_text() if self._path.is_file() else ""
        self._has_notes = bool(text)
        for line in text.splitlines():
            with suppress(ValueError):
                report, metrics = json.loads(line)
                if report == reports + 1:
                    reports = report
                    yield {str(name): float(value) for name, value in metrics.items()}

    def clear(self) -> None:
        """All are told."""
        if self._has_notes:
            self._has_notes = False
            with suppress(OSError):
                self._path.unlink(missing_ok=True)
