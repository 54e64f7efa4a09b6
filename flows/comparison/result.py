"""What `compare` returns, and how it is written as JSON, CSV and LaTeX."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from flows.comparison.records import Group, Row
from flows.terminal.shown_result import ShownResult

if TYPE_CHECKING:
    import pandas as pd

    from trainers.types import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison(ShownResult):
    """One group for each set of objectives and of validation examples: nothing is put in one order with
    what it cannot be compared with.

    Attributes:
        without: families, as `sweep/family`, that have no complete trial.
        warnings: why the groups cannot be compared with each other; empty for one group.
        ledgers: each sweep's, as its file names it.
    """

    screen: ClassVar[str] = "flows.comparison.leaderboard:print_leaderboard"

    groups: tuple[Group, ...]
    without: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    ledgers: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def rows(self) -> tuple[Row, ...]:
        """Those of all groups."""
        return tuple(row for group in self.groups for row in group.rows)

    def frame(self) -> pd.DataFrame:
        """The rows as a frame, with the columns of the CSV."""
        import pandas as pd

        return pd.read_csv(io.StringIO(self.to_csv()))

    def to_json(self) -> JsonObject:
        """The groups."""
        return {
            "groups": [group.to_json() for group in self.groups],
            "comparable": not self.warnings,
            "warnings": list(self.warnings),
            "without": list(self.without),
        }

    def to_csv(self) -> str:
        """One line a row, with a header; parameters as `param.NAME`."""
        from flows.comparison.text import format_csv

        return format_csv(self.groups)

    def to_latex(self) -> str:
        """A `booktabs` table for each group; everything from people is escaped."""
        from flows.comparison.text import format_latex

        return format_latex(self.groups)
