"""What `velodrome explain` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.explanation.result import Explanation
from flows.terminal.tables import TableColumn, fit_table

if TYPE_CHECKING:
    from rich.table import Table


def explanation_table(found: Explanation, width: int) -> Table:
    """A row a column or word, the one that counts most first."""
    features = found.features
    what = "word" if found.kind == "text" else "column"
    return fit_table(
        [
            TableColumn(heading=what, cells=[feature.name for feature in features], shrinks=True),
            TableColumn(
                heading="mean size",
                cells=[f"{feature.mean_absolute:.4g}" for feature in features],
                right=True,
            ),
            TableColumn(
                heading="mean",
                cells=[f"{feature.mean:+.4g}" for feature in features],
                right=True,
                gives_way=1,
            ),
            TableColumn(
                heading="rows", cells=[f"{feature.rows:,}" for feature in features], right=True, gives_way=2
            ),
        ],
        width,
    )
