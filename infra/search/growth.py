"""More budget for a sweep: what its spec becomes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from infra.errors import WrongInput
from infra.search.samplers import count_configurations
from infra.spec import FamilySpec, SweepSpec

MOST_TRIALS = 1_000_000


def grow_spec(spec: SweepSpec, *, trials: int, family: str | None = None) -> SweepSpec:
    """The spec with so many more trials for each family, or for one.

    Raises:
        WrongInput: not at least one more, more than a sweep can hold or a grid has, or no such family.
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
    for before, entry in zip(spec.families, grown, strict=True):
        if entry.trials > MOST_TRIALS:
            raise WrongInput(f"a family may have at most {MOST_TRIALS:,} trials", f"{entry.trials:,}")
        if entry.trials > before.trials:
            _check_grid(before, trials, others=len(names) > 1)
    return replace(spec, families=grown)


def _check_grid(family: FamilySpec, trials: int, *, others: bool) -> None:
    size = count_configurations(family)
    if size is None or family.trials + trials <= size:
        return
    left = max(0, size - family.trials)
    do = [f"write --trials +{left}"] if left else []
    do += ["name another family with --family"] if others else []
    raise WrongInput(
        f"a grid cannot have more trials than configurations; {family.name} has {size}",
        f"{trials} more where {left} are left",
        ", or ".join(do) or "start the next version with a larger space and --new",
    )


def limit_to_grids(spec: SweepSpec) -> SweepSpec:
    """The spec with no more trials for a grid than it has configurations."""
    sizes = {family.name: count_configurations(family) for family in spec.families}
    limited = [
        replace(family, trials=min(family.trials, sizes[family.name] or family.trials))
        for family in spec.families
    ]
    return replace(spec, families=tuple(limited))


def added_trials(before: SweepSpec, after: SweepSpec) -> Mapping[str, int]:
    """Trials of each family that has more of them now, new families among them."""
    had = {entry.name: entry.trials for entry in before.families}
    return {entry.name: entry.trials for entry in after.families if entry.trials > had.get(entry.name, 0)}
