"""More budget for a sweep: what its spec becomes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from infra.errors import WrongInput
from infra.spec import SweepSpec

MOST_TRIALS = 1_000_000


def grow_spec(spec: SweepSpec, *, trials: int, family: str | None = None) -> SweepSpec:
    """The spec with so many more trials for each family, or for one.

    Raises:
        WrongInput: not at least one more, more than a sweep can hold, or no such family.
    """
    if trials < 1:
        raise WrongInput(
            "a sweep must grow by at least one trial", str(trials), "write --trials +10 for ten more"
        )
    names = [entry.name for entry in spec.families]
    if family is not None and family not in names:
        raise WrongInput(
            f"the family must be one of {spec.label}'s", repr(family), f"it has {', '.join(names)}"
        )
    grown = tuple(
        replace(entry, trials=entry.trials + trials) if family in (None, entry.name) else entry
        for entry in spec.families
    )
    for entry in grown:
        if entry.trials > MOST_TRIALS:
            raise WrongInput(f"a family may have at most {MOST_TRIALS:,} trials", f"{entry.trials:,}")
    return replace(spec, families=grown)


def added_trials(before: SweepSpec, after: SweepSpec) -> Mapping[str, int]:
    """Trials of each family that has more of them now, new families among them."""
    had = {entry.name: entry.trials for entry in before.families}
    return {entry.name: entry.trials for entry in after.families if entry.trials > had.get(entry.name, 0)}
