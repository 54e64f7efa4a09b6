"""The coordinator's decisions as functions of what they depend on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Literal

from infra.ledger.rows import TrialRow
from infra.search.blocks import block_of
from infra.search.pruners import pruner_options
from infra.search.samplers import sampler_options
from infra.spec import FamilySpec, Objective, SweepSpec

MAX_FAILURES = 3
MOST_MEMORY_KILLS = 2

# What cannot work the second time either is not tried again; what may be the machine's fault is.
_HOPELESS = frozenset({"error", "not-finite", "out-of-memory"})


class StopCause(StrEnum):
    """Why a sweep stops before all its trials have ended, as the ledger keeps it."""

    REQUEST = "request"  # of a person or of another command: it can be carried on
    BUDGET = "budget"  # it is spent, and the sweep finished


def failure_action(reason: str, failures: int, *, killed: bool = False) -> Literal["retry", "fail"]:
    """Whether a trial gets another attempt.

    Args:
        reason: class of the failure that just happened and is charged to the trial.
        failures: how many are charged to it by now, this one among them.
        killed: whether its process was ended from outside. Where memory runs out, the one that is ended for
            it is not always the one that took it: once more, then.
    """
    if killed and reason == "out-of-memory":
        return "retry" if failures < MOST_MEMORY_KILLS else "fail"
    if reason in _HOPELESS or failures >= MAX_FAILURES:
        return "fail"
    return "retry"


def next_family(
    families: Sequence[FamilySpec], asked: Mapping[str, int], closed: frozenset[str]
) -> FamilySpec | None:
    """Whose turn it is: the family with the fewest trials so far, in the order of the file; None when all
    have what they were given."""
    open_families = [f for f in families if f.name not in closed and asked[f.name] < f.trials]
    return min(open_families, key=lambda family: asked[family.name], default=None)


def has_turn(
    family: FamilySpec, families: Sequence[FamilySpec], asked: Mapping[str, int], closed: frozenset[str]
) -> bool:
    """Whether a stack of the family may grow by a trial that is asked for now: it is at most a block ahead
    of every other family that has trials left."""
    others = [asked[f.name] for f in families if f.name not in closed and asked[f.name] < f.trials]
    if family.name in closed or asked[family.name] >= family.trials:
        return False
    block = block_of(family, asked[family.name])
    return asked[family.name] - min(others) < block.size


def asks_whole_blocks(family: FamilySpec) -> bool:
    """Whether a block's trials are asked for at one event, with what is finished then: else what a sampler
    or a pruner sees of finished trials would depend on how many are trained side by side."""
    if family.stack in (None, "off"):
        return False
    return sampler_options(family.sampler).learns or pruner_options(family.pruner).awaits_ends


def signed_value(goal: Objective, value: float) -> float:
    """The value with the sign that makes larger better."""
    return value if goal.direction == "maximize" else -value


def objective_so_far(
    goals: Sequence[Objective], reports: Mapping[int, Mapping[str, float]]
) -> tuple[int, list[float]] | None:
    """The kept epoch and one value a goal, from what was reported; None when no report has them all.

    The first goal decides which epoch is best; among equals the earlier one.
    """
    usable = {
        epoch: [metrics[goal.metric] for goal in goals]
        for epoch, metrics in reports.items()
        if all(math.isfinite(metrics.get(goal.metric, math.nan)) for goal in goals)
    }
    if not usable:
        return None
    if goals[0].at == "last":
        epoch = max(usable)
    else:
        epoch = min(usable, key=lambda e: (-signed_value(goals[0], usable[e][0]), e))
    return epoch, usable[epoch]


def kept_model_count(keep: str) -> int | None:
    """How many models of each family are kept; None: all."""
    if keep == "all":
        return None
    if keep == "best":
        return 1
    return int(keep.partition(":")[2])


def models_to_drop(goal: Objective, keep: str, trials: Iterable[TrialRow]) -> list[TrialRow]:
    """Trials of one family whose models no longer belong to the best."""
    count = kept_model_count(keep)
    if count is None:
        return []
    having = [trial for trial in trials if trial.model and trial.value is not None]
    ranked = sorted(having, key=lambda trial: (-signed_value(goal, trial.value or 0.0), trial.number))
    return ranked[count:]


def keep_threshold(goal: Objective, keep: str, trials: Iterable[TrialRow]) -> float | None:
    """What a new model must beat to be kept (larger is better); None: it is kept in any case."""
    count = kept_model_count(keep)
    if count is None:
        return None
    ranked = sorted(
        (signed_value(goal, trial.value) for trial in trials if trial.model and trial.value is not None),
        reverse=True,
    )
    return ranked[count - 1] if len(ranked) >= count else None


def exhausted_budget(spec: SweepSpec, elapsed_s: float, gpu_s: float, cpu_s: float) -> str | None:
    """Which budget of the whole sweep is spent, in words, or None."""
    if spec.minutes is not None and elapsed_s >= spec.minutes * 60:
        return f"the budget of {spec.minutes:g} minutes is used up"
    if spec.gpu_hours is not None and gpu_s >= spec.gpu_hours * 3600:
        return f"the budget of {spec.gpu_hours:g} GPU-hours is used up"
    price = spec.price(gpu_s, cpu_s)
    if spec.cost is not None and price >= spec.cost:
        return f"the budget of {spec.cost:g} is used up"
    return None


def is_objective(goals: Sequence[Objective], values: Sequence[float]) -> bool:
    """Whether these are a finite number for each goal."""
    return len(values) == len(goals) and all(map(_is_finite, values))


def _is_finite(value: object) -> bool:
    """Whether it is one real number that a database can hold; True is none, and 10**400 is too large."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False
