"""What each task means: its usual loss, its metrics by name, the trivial guess and the shape of answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pandas as pd
    import torch


class TaskRules(Protocol):
    """One task's rules, made for one fitted state."""

    metrics: tuple[str, ...]  # names without a prefix, the usual objective first

    def loss(self, outputs: Any, batch: dict[str, torch.Tensor], params: Any) -> torch.Tensor:
        """The mean loss of a batch."""

    def to_user(self, outputs: Any) -> pd.DataFrame:
        """Predictions in a person's terms."""
