"""Metrics of two passes as those of one."""

from __future__ import annotations

import torch

from trainers.tasks import MetricSet


def merge_metrics(into: MetricSet, other: MetricSet) -> None:
    """Adds what `other` saw to `into`; both made by the same rules."""
    for mine, theirs in zip(into.sums(), other.sums(), strict=True):
        mine += theirs.to(mine.device)
    both = zip(into.rows(), other.rows(), strict=True)
    into.set_rows([torch.cat([mine, theirs.to(mine.device)]) for mine, theirs in both])
