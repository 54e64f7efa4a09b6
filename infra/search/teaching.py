"""Which trials a sampler may learn from, and how a sweep remembers those of earlier sweeps."""

from __future__ import annotations

from infra.ledger.rows import TrialRow

LEARNS_FROM = "learns_from"  # a sweep's fact: the ids of the sweeps under `search.warm_start` when it began


def may_teach(trial: TrialRow) -> bool:
    """Whether a sampler may learn from the trial: not from what a model came to that was made smaller, for
    that is no result of its parameters."""
    return trial.state == "complete" and bool(trial.objective) and trial.compression is None
