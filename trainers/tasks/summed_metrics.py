"""What metrics are that need no more than sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from trainers.types import Array


class SummedMetrics:
    """A `MetricSet` whose whole state adds up over ranks, of a task without classes to look at."""

    def rows(self) -> list[torch.Tensor]:
        """None: all of it adds up."""
        return []

    def set_rows(self, rows: Sequence[torch.Tensor]) -> None:
        """Nothing to set."""

    def confusion(self) -> Array | None:
        """None: there are no classes."""
        return None
