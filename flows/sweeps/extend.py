"""`velodrome extend`: more trials for a sweep, whether it runs or has ended."""

from __future__ import annotations

import time
from dataclasses import dataclass

from flows.config.lookup import sweep_in_ledger
from flows.sweeps.compatibility import record_code_change
from flows.sweeps.ownership import Commit, change_sweep
from flows.sweeps.recorded_state import check_recorded_sweep
from flows.terminal.json_results import PlainResult
from infra.errors import OwnedElsewhere
from infra.home import Home
from infra.ledger import views
from infra.ledger.batch import WriteBatch
from infra.ledger.rows import SweepRow
from infra.names import spell_family
from infra.search.growth import added_trials, grow_spec


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendResult(PlainResult):
    """What was asked for. `planned`: trials of each family in all. `asked_driver`: a running driver took it
    up; else the sweep was carried on by this call."""

    sweep: str
    planned: dict[str, int]
    asked_driver: bool


def extend(
    name: str,
    *,
    trials: int,
    family: str | None = None,
    accept_code_change: bool = False,
    home: Home | None = None,
) -> ExtendResult:
    """So many more trials for each family of a sweep, or for one; a sweep that nobody runs is carried on.

    Args:
        accept_code_change: carry on though a family's source changed; recorded. A running driver goes on
            with the code that it began with.

    Raises:
        WrongInput: no such sweep or family, less than one trial, more than a grid has left, or code or data
            that are not the sweep's.
        OwnedElsewhere: the driver did not answer.
    """
    place = home or Home.from_environment()
    with sweep_in_ledger(name, place) as (ledger, row):
        family = spell_family(family)
        grow_spec(row.spec, trials=trials, family=family)

        def grow(commit: Commit) -> None:
            fresh = views.sweep_by_id(ledger, row.id)
            change = check_recorded_sweep(fresh, place, accept_code_change=accept_code_change)
            grown, now = grow_spec(change.spec, trials=trials, family=family), time.time()
            batch = WriteBatch(sweep={"spec": grown, "updated_at": now})
            batch.add_event("grown", now, {"families": dict(added_trials(fresh.spec, grown))})
            batch.sweep["facts"] = record_code_change(ledger, fresh, change, batch, now)
            commit(batch)

        taken = change_sweep(ledger, row, "extend", {"trials": trials, "family": family}, grow)
        now_planned = views.sweep_by_id(ledger, row.id).spec  # where a grid was used up meanwhile: less
    planned = {entry.name: entry.trials for entry in now_planned.families}
    return ExtendResult(sweep=row.label, planned=planned, asked_driver=taken or not _carry_on(row, place))


def _carry_on(row: SweepRow, home: Home) -> bool:
    """Whether it was for this call to do: who took the sweep meanwhile has read what was added."""
    from flows.sweeps.sweep import resume_sweep

    try:
        resume_sweep(row.label, home=home)
    except OwnedElsewhere:
        return False
    return True
