"""How a sweep stands at one moment: what progress shows, computed from the ledger's rows alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from infra.ledger.ranking import best_trial, model_size
from infra.ledger.rows import TrialRow
from infra.spec import FamilySpec, SweepSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class BestSoFar:
    """A family's best complete trial; `values` one number an objective, `size` as `model_size` gives it."""

    number: int
    values: tuple[float, ...]
    size: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilySnapshot:
    """One family's trials by state; `total` is how many there will be."""

    family: str
    waiting: int = 0
    running: int = 0
    complete: int = 0
    pruned: int = 0
    failed: int = 0
    total: int = 0
    best: BestSoFar | None = None

    @property
    def ended_count(self) -> int:
        """Trials that have their final state."""
        return self.complete + self.pruned + self.failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A sweep at one moment.

    Attributes:
        state: running, finished, stopped or failed.
        started_at: when this run of the sweep began, seconds since 1970.
        eta_s: seconds left at the pace since then; None while no trial has ended.
        unsent: things that tracking has not been told yet.
        message: one line on what is going on beside the trials ("waiting for a lane"); may be empty.
        first_value: what a trial has reported, while none has ended.
    """

    sweep: str
    state: str
    families: tuple[FamilySnapshot, ...]
    lanes_up: int = 0
    lanes_starting: int = 0
    started_at: float = 0.0
    elapsed_s: float = 0.0
    eta_s: float | None = None
    unsent: int = 0
    message: str = ""
    first_value: str = ""

    @property
    def ended_count(self) -> int:
        """Trials of all families that have their final state."""
        return sum(family.ended_count for family in self.families)

    @property
    def running_count(self) -> int:
        """Trials of all families that are in a lane."""
        return sum(family.running for family in self.families)

    @property
    def trial_count(self) -> int:
        """Trials that there will be."""
        return sum(family.total for family in self.families)


def make_snapshot(
    spec: SweepSpec,
    trials: Sequence[TrialRow],
    *,
    state: str,
    now: float,
    started_at: float,
    role: str = "search",
    lanes_up: int = 0,
    lanes_starting: int = 0,
    unsent: int = 0,
    message: str = "",
    first_value: str = "",
) -> Snapshot:
    """The snapshot that these rows amount to.

    Args:
        trials: those of another role are left out.
        role: `search`, whose trials are made as it goes on, or `confirm`, whose trials are all there.
        started_at: when this run of the sweep began; trials that ended before it say nothing about pace.
    """
    own = [trial for trial in trials if trial.role == role]
    families = tuple(
        _family_snapshot(family, [trial for trial in own if trial.family == family.name], spec, role)
        for family in spec.families
    )
    if role != "search":
        families = tuple(family for family in families if family.total)
    left = sum(family.total - family.ended_count for family in families)
    return Snapshot(
        sweep=spec.label,
        state=state,
        families=families,
        lanes_up=lanes_up,
        lanes_starting=lanes_starting,
        started_at=started_at,
        elapsed_s=max(0.0, now - started_at),
        eta_s=_estimate_time_left(spec, own, left, now, started_at),
        unsent=unsent,
        message=message,
        first_value=first_value,
    )


def _family_snapshot(
    family: FamilySpec, trials: list[TrialRow], spec: SweepSpec, role: str
) -> FamilySnapshot:
    counts = Counter(trial.state for trial in trials)
    found = best_trial(trials, spec.objectives)
    return FamilySnapshot(
        family=family.name,
        waiting=counts["waiting"],
        running=counts["running"],
        complete=counts["complete"],
        pruned=counts["pruned"],
        failed=counts["failed"],
        total=max(family.trials, len(trials)) if role == "search" else len(trials),
        best=None if found is None else _best_so_far(found),
    )


def _best_so_far(trial: TrialRow) -> BestSoFar:
    return BestSoFar(number=trial.number, values=tuple(trial.objective or ()), size=model_size(trial))


def _estimate_time_left(
    spec: SweepSpec, trials: list[TrialRow], left: int, now: float, started_at: float
) -> float | None:
    if left == 0:
        return 0.0
    ended = [trial for trial in trials if trial.has_ended and (trial.ended_at or 0.0) >= started_at]
    if not ended or now <= started_at:
        return None
    first_began = min((trial.ended_at or now) - trial.seconds for trial in ended)
    at_this_pace = (now - max(started_at, first_began)) / len(ended) * left  # lanes took time to come up
    if spec.minutes is None:
        return at_this_pace
    return min(at_this_pace, max(0.0, spec.minutes * 60.0 - (now - started_at)))
