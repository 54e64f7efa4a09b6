"""What pruning saved, and why trials failed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from infra.ledger.rows import TrialRow
from infra.spec import SweepSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Savings:
    """Of the trials that the pruner stopped.

    Attributes:
        trials: how many.
        epochs_saved: those that they would still have trained.
        epochs_trained: of all trials of the sweep.
        seconds_saved: an estimate: each stopped trial's own seconds an epoch times what it did not train.
        seconds_trained: of all trials.
    """

    trials: int
    epochs_saved: int
    epochs_trained: int
    seconds_saved: float
    seconds_trained: float

    @property
    def share(self) -> float:
        """Of all epochs that the trials would have trained without a pruner, from 0 to 1."""
        whole = self.epochs_saved + self.epochs_trained
        return self.epochs_saved / whole if whole else 0.0


def compute_savings(spec: SweepSpec, trials: Sequence[TrialRow]) -> Savings:
    """What was saved against training every trial to its end (early stopping by patience not counted)."""
    length = {family.name: family.budget.reports for family in spec.families}
    pruned = [trial for trial in trials if trial.state == "pruned"]
    left = [max(0, length.get(trial.family, 0) - trial.epochs) for trial in pruned]
    return Savings(
        trials=len(pruned),
        epochs_saved=sum(left),
        epochs_trained=sum(trial.epochs for trial in trials),
        seconds_saved=sum(t.seconds / t.epochs * n for t, n in zip(pruned, left, strict=True) if t.epochs),
        seconds_trained=sum(trial.seconds for trial in trials),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Trials that failed for one reason. `kind`: the class that the reason begins with."""

    kind: str
    trials: tuple[tuple[str, int], ...]
    example: str


def group_failures(trials: Sequence[TrialRow]) -> list[FailureGroup]:
    """Failed trials by the class of their reason, the most frequent first."""
    found: dict[str, list[TrialRow]] = defaultdict(list)
    for trial in trials:
        if trial.state == "failed":
            found[(trial.reason or "unknown").partition(":")[0]].append(trial)
    groups = [
        FailureGroup(
            kind=kind,
            trials=tuple((trial.family, trial.number) for trial in failed),
            example=(failed[0].reason or "").partition(":")[2].strip(),
        )
        for kind, failed in found.items()
    ]
    return sorted(groups, key=lambda group: -len(group.trials))


def count_endings(trials: Sequence[TrialRow]) -> dict[str, dict[int, int]]:
    """How many trials ended after how many epochs, by state."""
    counts: dict[str, dict[int, int]] = {}
    for trial in trials:
        if trial.state in ("complete", "pruned"):
            by_epoch = counts.setdefault(trial.state, {})
            by_epoch[trial.epochs] = by_epoch.get(trial.epochs, 0) + 1
    return counts
