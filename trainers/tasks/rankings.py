"""Metrics of one user's ranked items, in plain Python: what a promotion judges answers by."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

TOP = 10


def ndcg(ranked: Sequence[str], wanted: Collection[str]) -> float:
    """`ndcg_10` of at least one wanted item; see `trainers.tasks.recommendation.Recommendation`."""
    ideal = sum(1.0 / math.log2(place + 1) for place in range(1, min(TOP, len(wanted)) + 1))
    gained = (1.0 / math.log2(place + 1) for place, item in enumerate(ranked[:TOP], 1) if item in wanted)
    return sum(gained) / ideal


def recall(ranked: Sequence[str], wanted: Collection[str]) -> float:
    """`recall_10`: the share of the wanted items that stand among the first ten."""
    return len({*ranked[:TOP]} & {*wanted}) / len(wanted)
