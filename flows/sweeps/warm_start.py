"""Earlier sweeps that a search learns from: what must be the same, and how many trials that gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flows.config.lookup import advise_name
from flows.sweeps.preparation import PreparedSweep
from infra.errors import WrongInput
from infra.ledger import views
from infra.ledger.rows import SweepRow
from infra.ledger.store import Ledger
from infra.spec import Objective, SweepSpec
from search_spaces.errors import SpaceError
from search_spaces.space import Space

_KEY = ("search", "warm_start")


def check_warm_start(ledger: Ledger | None, prepared: PreparedSweep) -> list[str]:
    """How many trials the search learns from, a line for each sweep under `search.warm_start`.

    Args:
        ledger: None where there is none yet.
    """
    return [_check_earlier(ledger, prepared, label) for label in prepared.spec.warm_start]


def _check_earlier(ledger: Ledger | None, prepared: PreparedSweep, label: str) -> str:
    earlier = views.find_sweep(ledger, label) if ledger is not None else None
    if ledger is None or earlier is None:
        do = advise_name(ledger, label)
        raise _error(prepared, "name sweeps of this ledger", repr(label), do)
    before, now = _describe(earlier.spec.objectives), _describe(prepared.spec.objectives)
    if before != now:
        must = f"name sweeps that are judged as this one is, by {now}"
        raise _error(prepared, must, f"{label} is judged by {before}")
    if earlier.fingerprint != prepared.fingerprint:
        found = f"{label} has fingerprint {earlier.fingerprint[:12]}, the file {prepared.fingerprint[:12]}"
        if prepared.split_as(earlier.fingerprint) is not prepared:
            found = f"{label} has the same rows, but parted by the rules of before: it saw other sides"
        raise _error(prepared, "name sweeps of the same data", found)
    return _count_fitting(ledger, prepared, earlier)


def _count_fitting(ledger: Ledger, prepared: PreparedSweep, earlier: SweepRow) -> str:
    spaces = {family.name: Space.from_json(family.space) for family in prepared.spec.families}
    complete = [trial for trial in views.trials(ledger, earlier.id) if trial.state == "complete"]
    fitting = [
        trial for trial in complete if trial.family in spaces and _fits(spaces[trial.family], trial.params)
    ]
    if not fitting:
        found = f"{earlier.label} has {len(complete)} complete trials, {_difference(prepared.spec, earlier)}"
        raise _error(prepared, "name sweeps with trials that fit this one's families and spaces", found)
    return f"search.warm_start: {len(fitting)} of {earlier.label}'s {len(complete)} complete trials fit"


def _fits(space: Space, params: Mapping[str, Any]) -> bool:
    try:
        space.check_params(params)
    except SpaceError:
        return False
    return True


def _difference(spec: SweepSpec, earlier: SweepRow) -> str:
    known = {family.name for family in earlier.spec.families}
    shared = [family.name for family in spec.families if family.name in known]
    if shared:
        return f"all outside the space of {', '.join(shared)}"
    return f"of {', '.join(sorted(known))}"


def _describe(objectives: Sequence[Objective]) -> str:
    return ", ".join(f"{goal.metric} ({goal.direction}, at {goal.at})" for goal in objectives)


def _error(prepared: PreparedSweep, must: str, found: str, do: str = "leave it out") -> WrongInput:
    return prepared.file.written.error_at(_KEY, must, found, do)
