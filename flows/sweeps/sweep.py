"""`velodrome sweep`: runs a sweep file, or carries on where it stopped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from flows.config.lookup import open_sweep
from flows.sweeps.compatibility import compare_sweep, record_code_change, refuse_changes
from flows.sweeps.new import find_sweep_file
from flows.sweeps.ownership import commit_as_owner
from flows.sweeps.preparation import (
    PreparedSweep,
    file_facts,
    place_facts,
    prepare_sweep,
    sweep_facts,
)
from flows.sweeps.session import background_sender, commonest_reason, print_stderr, run_session
from flows.sweeps.status import SweepStatus, sweep_status
from flows.sweeps.warm_start import check_warm_start
from infra.coordinator.policy import exhausted_budget
from infra.errors import RefusedError
from infra.home import Home, ledger_url
from infra.ledger import views
from infra.ledger.batch import SweepChange, WriteBatch
from infra.ledger.rows import SweepRow
from infra.ledger.store import Ledger
from infra.storage.trial_logs import written_logs_folder
from infra.tracking.sent_runs import run_ids

DRAIN_LIMIT_S = 60.0


def sweep(
    file: Path | str,
    *,
    overrides: Sequence[str] = (),
    address: str | None = None,
    new: bool = False,
    accept_code_change: bool = False,
    home: Home | None = None,
) -> SweepStatus:
    """Runs a sweep file to its end; finished trials are never run again.

    Args:
        file: the sweep file; or an Optuna objective, `module:function`, whose file is written where none is.
        overrides: `search.pruner=none` and the like, over the file's keys.
        address: an existing Ray cluster; None starts one on this machine.
        new: start the next version beside the old one.
        accept_code_change: carry on though a family's source changed; recorded.

    Raises:
        WrongInput: the file, its data or its families cannot be used, or the change needs a new version.
        OwnedElsewhere: another living process runs the sweep.
        ClusterUnavailable: no Ray, or no room for a lane.
        Refused: no trial succeeded.
        Interrupted: a signal asked to stop; state is kept.
    """
    place = home or Home.from_environment()
    prepared = prepare_sweep(find_sweep_file(file), overrides, place)
    ledger = Ledger(ledger_url(place, prepared.spec.ledger), create=True)
    try:
        row = _register_sweep(ledger, prepared, new=new, accept_code_change=accept_code_change)
        return _run_sweep(ledger, row, place, address)
    finally:
        ledger.close()


def resume_sweep(label: str, *, home: Home | None = None, address: str | None = None) -> SweepStatus:
    """Runs what the ledger has of a sweep, without its file (after `extend` and `retry`)."""
    place = home or Home.from_environment()
    ledger, row = open_sweep(label, place)
    try:
        return _run_sweep(ledger, row, place, address)
    finally:
        ledger.close()


def _run_sweep(ledger: Ledger, row: SweepRow, place: Home, address: str | None) -> SweepStatus:
    nothing_left = _nothing_left_reason(ledger, row)
    if nothing_left is not None:
        with background_sender(ledger, row, place) as sender:
            waiting = sender.count_unsent()
            unsent = sender.drain(DRAIN_LIMIT_S, while_it_moves=True)
        _warn_unsent(unsent)
        sent = f"; {waiting - unsent} unsent events went to tracking" if waiting > unsent else ""
        print_stderr(f"{row.label} is finished: {nothing_left}{sent}.")
        return _status(ledger, row, place)
    ended = run_session(ledger, row, place, address=address)
    _warn_unsent(ended.unsent)
    if ended.state == "failed":
        raise RefusedError(
            "at least one trial must succeed",
            commonest_reason(views.trials(ledger, row.id)),
            f"`velodrome show {row.label} --trial 0` tells more; `velodrome retry {row.label}` tries again",
            log=str(written_logs_folder(place, row.spec)),
        )
    return _status(ledger, row, place)


def _nothing_left_reason(ledger: Ledger, row: SweepRow) -> str | None:
    """Why there is nothing to run, and what would change that; None where there is something."""
    if _is_done(ledger, row):
        return f"nothing to run (`velodrome extend {row.label} --trials +N` adds trials)"
    spent = row.facts.get("spent", {})
    why = exhausted_budget(row.spec, *(spent.get(name, 0.0) for name in ("elapsed_s", "gpu_s", "cpu_s")))
    return None if why is None else f"{why} (a larger one in its file carries it on)"


def _status(ledger: Ledger, row: SweepRow, place: Home) -> SweepStatus:
    fresh = views.sweep_by_id(ledger, row.id)
    return sweep_status(ledger, fresh, run_ids(place, fresh))


def _is_done(ledger: Ledger, row: SweepRow) -> bool:
    """Whether every trial that the sweep may have has ended."""
    if row.state not in {"finished", "failed"}:
        return False
    trials = views.trials(ledger, row.id)
    counts = {family.name: 0 for family in row.spec.families}
    for trial in trials:
        counts[trial.family] = counts.get(trial.family, 0) + 1
    asked_all = all(counts[family.name] >= family.trials for family in row.spec.families)
    return all(trial.has_ended for trial in trials) and (asked_all or row.state == "failed")


def _warn_unsent(unsent: int) -> None:
    if unsent:
        print_stderr(
            f"warning: tracking is away; {unsent} events are not sent yet. The next command sends them."
        )


def _register_sweep(
    ledger: Ledger, prepared: PreparedSweep, *, new: bool, accept_code_change: bool
) -> SweepRow:
    """The sweep's row: a new one, or the known one grown to what the file says now."""
    known = views.find_sweep(ledger, prepared.spec.name)
    if known is None or new:
        version = known.spec.version + 1 if known is not None else 1
        spec = replace(prepared.spec, version=version)
        _tell_warm_start(ledger, prepared)
        created = ledger.create_sweep(
            spec, fingerprint=prepared.fingerprint, facts=sweep_facts(prepared), at=time.time()
        )
        return views.sweep_by_id(ledger, created)
    prepared = prepared.split_as(known.fingerprint)
    if not views.has_journal(ledger, known.id):
        return _rewrite_sweep(ledger, known, prepared)
    carried = compare_sweep(known, prepared.spec, prepared.fingerprint)
    refuse_changes(known, carried, accept_code_change=accept_code_change, file=prepared.file.path)
    if carried.spec != known.spec or not place_facts(prepared).items() <= known.facts.items():
        _store_growth(ledger, known, prepared)
    return views.sweep_by_id(ledger, known.id)


def _rewrite_sweep(ledger: Ledger, known: SweepRow, prepared: PreparedSweep) -> SweepRow:
    """A sweep that was refused before its search began is what its corrected file says."""
    _tell_warm_start(ledger, prepared)
    with commit_as_owner(ledger, known) as commit:
        written: SweepChange = {
            "spec": replace(prepared.spec, version=known.spec.version), "fingerprint": prepared.fingerprint,
            "facts": sweep_facts(prepared), "updated_at": time.time(),
        }  # fmt: skip
        commit(WriteBatch(sweep=written))
    return views.sweep_by_id(ledger, known.id)


def _tell_warm_start(ledger: Ledger, prepared: PreparedSweep) -> None:
    for line in check_warm_start(ledger, prepared):
        print_stderr(line)


def _store_growth(ledger: Ledger, known: SweepRow, prepared: PreparedSweep) -> None:
    with commit_as_owner(ledger, known) as commit:
        now, known = time.time(), views.sweep_by_id(ledger, known.id)  # `extend` may have grown it meanwhile
        carried = compare_sweep(known, prepared.spec, prepared.fingerprint)
        batch = WriteBatch(sweep={"spec": carried.spec, "updated_at": now})
        if carried.grown:
            batch.add_event("grown", now, {"families": dict(carried.grown)})
        facts = record_code_change(known, carried, batch, now)
        batch.sweep["facts"] = facts | file_facts(prepared) | place_facts(prepared)
        commit(batch)
