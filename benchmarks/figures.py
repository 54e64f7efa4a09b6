"""Figures with their bars, as a Markdown table and as JSON that is written while they come."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One measured number, and what it must be where there is a bar."""

    what: str
    measured: float
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None
    note: str = ""

    @property
    def meets_bar(self) -> bool | None:
        """Whether the bar is met; None where there is none."""
        if self.at_most is None and self.at_least is None:
            return None
        return (self.at_most is None or self.measured <= self.at_most) and (
            self.at_least is None or self.measured >= self.at_least
        )

    @property
    def bar(self) -> str:
        """The bar in words."""
        if self.at_most is not None:
            return f"≤ {_short(self.at_most)} {self.unit}".strip()
        return "" if self.at_least is None else f"≥ {_short(self.at_least)} {self.unit}".strip()


class Measurements:
    """What one command measures."""

    def __init__(self, title: str, path: Path | None) -> None:
        """Nothing is measured yet.

        Args:
            path: a file for the figures as JSON, written anew with each of them.
        """
        self.title, self._path = title, path
        self.found: list[Measurement] = []

    def add(
        self,
        what: str,
        measured: float,
        unit: str = "",
        *,
        at_most: float | None = None,
        at_least: float | None = None,
        note: str = "",
    ) -> None:
        """Takes a figure and says it at once."""
        figure = Measurement(
            what=what, measured=measured, unit=unit, at_most=at_most, at_least=at_least, note=note
        )
        self.found.append(figure)
        held = {True: "  [holds]", False: "  [MISSED]", None: ""}[figure.meets_bar]
        print_progress(f"  {what}: {_short(measured)} {unit} {note}  {figure.bar}{held}".rstrip())
        if self._path is not None:
            document = {
                "title": self.title,
                "machine": describe_machine(),
                "figures": [asdict(f) for f in self.found],
            }
            self._path.write_text(json.dumps(document, indent=2) + "\n")

    def table(self) -> str:
        """All of them in Markdown."""
        lines = ["| what | measured | bar | holds |", "| --- | --- | --- | --- |"]
        for figure in self.found:
            note = f" ({figure.note})" if figure.note else ""
            holds = {True: "yes", False: "**no**", None: ""}[figure.meets_bar]
            measured = f"{_short(figure.measured)} {figure.unit}".strip()
            lines.append(f"| {figure.what}{note} | {measured} | {figure.bar} | {holds} |")
        return "\n".join(lines)

    def conclude(self) -> None:
        """Prints the table on stdout."""
        sys.stdout.write(f"\n{describe_machine()}\n\n{self.table()}\n")


def parser(description: str) -> argparse.ArgumentParser:
    """What every benchmark takes."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, as they come")
    return made


def print_progress(text: str) -> None:
    """Progress, on stderr."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)


def describe_machine() -> str:
    """Cores, how busy they were besides, and how fast: a shared machine's pace changes by the hour."""
    load = os.getloadavg()[0]
    began = time.perf_counter()
    sum(map(abs, range(1_000_000)))
    pace_ms = 1e3 * (time.perf_counter() - began)
    when = time.strftime("%Y-%m-%d %H:%M")
    return (
        f"{os.cpu_count()} cores, load {load:.1f}, a million calls take {pace_ms:.0f} ms, at the end, {when}"
    )


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
