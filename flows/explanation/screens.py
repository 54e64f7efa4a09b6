"""What `velodrome explain` prints."""

from __future__ import annotations

from rich.table import Table

from flows.explanation.result import Explanation
from flows.terminal.tables import TableColumn, fit_table


def explanation_table(found: Explanation, width: int) -> Table:
    """A row a column or word, the one that counts most first."""
    features = found.features
    what = "word" if found.kind == "text" else "column"
    return fit_table(
        [
            TableColumn(what, [feature.name for feature in features], shrinks=True),
            TableColumn("mean size", [f"{feature.mean_absolute:.4g}" for feature in features], right=True),
            TableColumn("mean", [f"{feature.mean:+.4g}" for feature in features], right=True, gives_way=1),
            TableColumn("rows", [f"{feature.rows:,}" for feature in features], right=True, gives_way=2),
        ],
        width,
    )
