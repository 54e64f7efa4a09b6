"""Earlier sweeps that a search learns from: what must be the same, and how many trials that gives."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from flows.config.lookup import advise_name
from flows.sweeps.preparation import PreparedSweep
from infra.errors import WrongInput
from infra.ledger import views
from infra.ledger.rows import SweepRow, TrialRow
from infra.ledger.store import Ledger
from infra.search.samplers import sampler_options
from infra.search.teaching import may_teach
from infra.spec import Objective, SweepSpec
from search_spaces.errors import SpaceError
from search_spaces.space import Space
from search_spaces.values import canonical_text

_KEY = ("search", "warm_start")


def check_warm_start(ledger: Ledger | None, prepared: PreparedSweep) -> list[str]:
    """How many trials the search learns from, a line for each sweep under `search.warm_start`.

    Args:
        ledger: None where there is none yet.
    """
    return [line for _, line in find_earlier_sweeps(ledger, prepared)]


def find_earlier_sweeps(
    ledger: Ledger | None, prepared: PreparedSweep, own: int | None = None
) -> list[tuple[int, str]]:
    """The ids of the sweeps under `search.warm_start`, and what is said of each.

    Args:
        own: the id of the sweep that asks, where it is in the ledger: a version before it may have its name.
    """
    found: dict[int, str] = {}
    for label in prepared.spec.warm_start:
        earlier = _find_earlier(ledger, prepared, label, own)
        assert ledger is not None  # or nothing would have been found
        if earlier.id in found:
            raise _error(prepared, "name each sweep once", f"{earlier.label} twice", "drop one")
        found[earlier.id] = _check_earlier(earlier, views.trials(ledger, earlier.id), prepared)
    return list(found.items())


def _find_earlier(ledger: Ledger | None, prepared: PreparedSweep, label: str, own: int | None) -> SweepRow:
    rows = views.sweeps(ledger) if ledger is not None else []
    named = [
        row for row in rows
        if row.id != own and label in (row.spec.name, f"{row.spec.name}@{row.spec.version}")
    ]  # fmt: skip
    if not named:
        do = advise_name(ledger, label)
        raise _error(prepared, "name sweeps of this ledger", repr(label), do)
    return max(named, key=lambda row: row.spec.version)


def _check_earlier(earlier: SweepRow, trials: Sequence[TrialRow], prepared: PreparedSweep) -> str:
    label = earlier.label
    before, now = _describe(earlier.spec.objectives), _describe(prepared.spec.objectives)
    if before != now:
        must = f"name sweeps that are judged as this one is, by {now}"
        raise _error(prepared, must, f"{label} is judged by {before}")
    if earlier.fingerprint != prepared.fingerprint:
        found = f"{label} has fingerprint {earlier.fingerprint[:12]}, the file {prepared.fingerprint[:12]}"
        if prepared.split_as(earlier.fingerprint) is not prepared:
            found = f"{label} has the same rows, but parted by the rules of before: it saw other sides"
        raise _error(prepared, "name sweeps of the same data", found)
    return _count_fitting(earlier, trials, prepared)


def _count_fitting(earlier: SweepRow, trials: Sequence[TrialRow], prepared: PreparedSweep) -> str:
    spaces = {family.name: Space.from_json(family.space) for family in prepared.spec.families}
    complete = [trial for trial in trials if may_teach(trial)]
    known = [trial for trial in complete if trial.family in spaces]
    whys = [_why_outside(spaces[trial.family], trial) for trial in known]
    count = whys.count(None)
    if not count:
        found = f"{earlier.label} has {_difference(prepared.spec, earlier, complete, whys)}"
        raise _error(prepared, "name sweeps with trials that fit this one's families and spaces", found)
    taught = {trial.family for trial, why in zip(known, whys, strict=True) if why is None}
    said = [said for name in sorted(taught) for said in _describe_changes(name, earlier.spec, prepared.spec)]
    said += [f"among the others: {why}" for why in dict.fromkeys(filter(None, whys))][:1]
    fit = f"search.warm_start: {count} of {earlier.label}'s {len(complete)} complete trials fit"
    return "; ".join([fit, *said])


def _why_outside(space: Space, trial: TrialRow) -> str | None:
    """Why the space could not draw the trial's configuration; None where it could."""
    try:
        space.check_configuration(trial.params)
    except SpaceError as error:
        return f"{trial.family} #{trial.number}: {error.must}, found {error.found}"
    return None


def _describe_changes(name: str, before: SweepSpec, now: SweepSpec) -> Iterator[str]:
    """What is taught all the same, and is another family's search in part."""
    one, other = before.family(name), now.family(name)
    if not sampler_options(other.sampler).learns:
        yield f"{name}'s sampler {other.sampler['name']} learns from none"
    if canonical_text(one.options) != canonical_text(other.options):
        yield f"{name} had other options then"
    if one.source_hash != other.source_hash and one.source_hash and other.source_hash:
        yield f"{name} had another source then"
    if one.budget.reports != other.budget.reports:
        yield f"{name} had {one.budget.reports} epochs a trial then, and has {other.budget.reports}"


def _difference(
    spec: SweepSpec, earlier: SweepRow, complete: Sequence[TrialRow], whys: Sequence[str | None]
) -> str:
    if not complete:
        return "no complete trial"
    known = {family.name for family in earlier.spec.families}
    shared = [family.name for family in spec.families if family.name in known]
    if not shared:
        return f"{len(complete)} complete trials, of {', '.join(sorted(known))}"
    outside = f"{len(complete)} complete trials, all outside the space of {', '.join(shared)}"
    return f"{outside} ({whys[0]})" if whys else outside


def _describe(objectives: Sequence[Objective]) -> str:
    return ", ".join(f"{goal.metric} ({goal.direction}, at {goal.at})" for goal in objectives)


def _error(prepared: PreparedSweep, must: str, found: str, do: str = "leave it out") -> WrongInput:
    return prepared.file.written.error_at(_KEY, must, found, do)
