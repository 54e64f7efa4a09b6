"""More budget for a sweep: what its spec becomes. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from infra.errors import WrongInput
from infra.search.samplers import count_configurations
from infra.spec import SweepSpec

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
    for entry in grown:
        if entry.trials > MOST_TRIALS:
            raise WrongInput(f"a family may have at most {MOST_TRIALS:,} trials", f"{entry.trials:,}")
    _check_grids(spec, trials, {family} if family is not None else set(names))
    return replace(spec, families=grown)


def _check_grids(spec: SweepSpec, trials: int, asked: Collection[str]) -> None:
    """Refuses more than every grid among those asked has left, and says what is left in all families."""
    sizes = {family.name: count_configurations(family) for family in spec.families}
    left = {
        name: None if size is None else max(0, size - spec.family(name).trials)
        for name, size in sizes.items()
    }
    short = {name: count for name, count in left.items() if count is not None and count < trials}
    refused = [name for name in short if name in asked]
    if not refused:
        return
    least = min(short[name] for name in refused)
    do = [f"write --trials +{least}"] if least else []
    if others := [_describe_left(name, count) for name, count in left.items() if count != 0]:
        do += [f"name another family with --family: {', '.join(others)}"] if len(sizes) > 1 else []
    raise WrongInput(
        "a grid cannot have more trials than configurations; "
        + ", ".join(f"{name} has {sizes[name]}" for name in refused),
        f"{trials} more where {' and '.join(str(short[name]) for name in refused)} are left",
        ", or ".join(do) or "start the next version with a larger space and --new",
    )


def _describe_left(name: str, count: int | None) -> str:
    return name if count is None else f"{name} ({count} left)"


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
