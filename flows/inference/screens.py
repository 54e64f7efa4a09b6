"""What the commands that use a model print."""

from __future__ import annotations

from rich.table import Table

from flows.inference.drift import DriftReport
from flows.terminal.tables import TableColumn, fit_table


def drift_table(report: DriftReport, width: int) -> Table:
    """A row a column, the one that drifted most first."""
    found = report.columns
    missing = [f"{before:.1%} → {now:.1%}" for before, now in (column.missing for column in found)]
    return fit_table(
        [
            TableColumn("column", [column.column for column in found], shrinks=True),
            TableColumn("what", [column.what for column in found], gives_way=3),
            TableColumn("verdict", [column.verdict for column in found]),
            TableColumn("index", [f"{column.index:.3f}" for column in found], right=True),
            TableColumn("missing", missing, right=True, gives_way=1),
            TableColumn("unseen", [f"{column.unseen:.1%}" for column in found], right=True, gives_way=2),
        ],
        width,
    )
