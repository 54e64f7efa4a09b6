"""`velodrome sweep`: runs a sweep file, or carries on where it stopped."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any, Literal

from flows.config.lookup import sweep_in_ledger
from flows.sweeps.compatibility import compare_sweep, record_code_change, refuse_changes
from flows.sweeps.new import find_sweep
from flows.sweeps.ownership import commit_as_owner
from flows.sweeps.preparation import (
    PreparedSweep,
    SweepSource,
    file_facts,
    place_facts,
    prepare_sweep,
    sweep_facts,
)
from flows.sweeps.session import DRAIN_LIMIT_S, background_sender, run_session
from flows.sweeps.views.status import sweep_status
from flows.sweeps.views.sweep_status import SweepStatus
from flows.sweeps.warm_start import find_earlier_sweeps
from flows.terminal.console import print_stderr
from flows.terminal.next_command import next_command
from infra.coordinator.policy import exhausted_budget
from infra.errors import LedgerUnavailable, RefusedError, VelodromeError
from infra.head_start.orders import may_have_head_start
from infra.head_start.process import HeadStart, spare_process
from infra.home import Home, ledger_url, storage_root
from infra.ledger import views
from infra.ledger.batch import SweepChange, WriteBatch
from infra.ledger.broken_families import find_broken_families
from infra.ledger.rows import SweepRow, TrialRow
from infra.ledger.store import Ledger
from infra.mirror import check_writable
from infra.ray_job import job_address
from infra.search.teaching import LEARNS_FROM
from infra.storage.trial_logs import written_logs_folder
from infra.tracking.sent_runs import run_ids
from trainers.types import JsonObject


def sweep(
    file: SweepSource | Callable[..., object],
    *,
    space: Mapping[str, Any] | None = None,
    objective: str | None = None,
    direction: Literal["minimize", "maximize"] | None = None,
    trials: int | None = None,
    epochs: int | None = None,
    name: str | None = None,
    overrides: Sequence[str] = (),
    address: str | None = None,
    new: bool = False,
    accept_code_change: bool = False,
    home: Home | None = None,
) -> SweepStatus:
    """Runs a sweep file to its end; finished trials are never run again.

    Args:
        file: the sweep file; or an Optuna objective, `module:function`, whose file is written where none is;
            or a mapping that is such a file; or a training function, with the next six.
        space: a function's parameters: `loguniform(1e-4, 1e-1)`, a list of choices, or a constant.
        objective: what the function reports and is judged by; `direction` where Velodrome does not know it.
        trials, epochs: its budget.
        name: of its sweep; by default the function's own.
        overrides: `search.pruner=none` and the like, over the file's keys.
        address: an existing Ray cluster; None starts one on this machine.
        new: start the next version beside the old one.
        accept_code_change: carry on though a family's source changed; recorded.

    Raises:
        WrongInput: the file, its data or its families cannot be used, or the change needs a new version.
        OwnedElsewhere: another living process runs the sweep.
        ClusterUnavailable: no Ray, or no room for a lane.
        StorageUnavailable: the bucket of its storage takes nothing.
        RefusedError: no trial succeeded.
        InterruptedCommand: a signal asked to stop; state is kept.
    """
    place = home or Home.from_environment()
    source = find_sweep(
        file, space=space, objective=objective, direction=direction, trials=trials, epochs=epochs, name=name
    )
    with spare_process(address is None and job_address() is None) as spare:
        prepared = prepare_sweep(source, overrides, place)
        if spare is not None and not may_have_head_start(prepared.spec):
            spare.kill()
        check_writable(storage_root(place, prepared.spec))
        ledger = Ledger(ledger_url(place, prepared.spec.ledger), create=True)
        with closing(ledger):
            row = _register_sweep(ledger, prepared, new=new, accept_code_change=accept_code_change)
            return _run_sweep(ledger, row, place, address, spare)


def resume_sweep(label: str, *, home: Home | None = None, address: str | None = None) -> SweepStatus:
    """Runs what the ledger has of a sweep, without its file (after `extend` and `retry`)."""
    place = home or Home.from_environment()
    with sweep_in_ledger(label, place) as (ledger, row):
        return _run_sweep(ledger, row, place, address)


def _run_sweep(
    ledger: Ledger, row: SweepRow, place: Home, address: str | None, spare: HeadStart | None = None
) -> SweepStatus:
    """Runs it; an error that ends it knows how the sweep stands then."""
    try:
        return _run_to_end(ledger, row, place, address, spare)
    except VelodromeError as error:
        with suppress(LedgerUnavailable):
            error.document = _status(ledger, row, place).to_json()
        raise


def _run_to_end(
    ledger: Ledger, row: SweepRow, place: Home, address: str | None, spare: HeadStart | None
) -> SweepStatus:
    nothing_left = _nothing_left_reason(ledger, row, address)
    if nothing_left is not None:
        with background_sender(row, place) as sender:
            waiting = sender.count_unsent()
            unsent = sender.drain(DRAIN_LIMIT_S, while_it_moves=True)
        _warn_unsent(unsent)
        sent = f"; {waiting - unsent} unsent events went to tracking" if waiting > unsent else ""
        state = "failed" if row.state == "failed" else "finished"
        print_stderr(f"{row.label} is {state}: {nothing_left}{sent}.")
    else:
        _warn_unsent(run_session(ledger, row, place, address=address, spare=spare).unsent)
    ended = _status(ledger, row, place)
    for broken in ended.stopped_families:
        print_stderr(str(broken))
    if ended.state == "failed":
        raise RefusedError(
            "at least one trial must succeed",
            _commonest_reason(views.trials(ledger, row.id)),
            f"`{next_command(f'show {row.label} --trial 0', row.spec.ledger)}` tells more;"
            f" `{next_command(f'retry {row.label}', row.spec.ledger, address=address)}` tries again",
            log=str(written_logs_folder(place, row.spec)),
        )
    return ended


def _nothing_left_reason(ledger: Ledger, row: SweepRow, address: str | None) -> str | None:
    """Why there is nothing to run, and what would change that; None where there is something."""
    if _is_done(ledger, row):
        extend = next_command(f"extend {row.label} --trials +N", row.spec.ledger, address=address)
        return f"nothing to run (`{extend}` adds trials)"
    spent = row.facts.get("spent", {})
    why = exhausted_budget(row.spec, *(spent.get(name, 0.0) for name in ("elapsed_s", "gpu_s", "cpu_s")))
    return None if why is None else f"{why} (a larger one in its file carries it on)"


def _status(ledger: Ledger, row: SweepRow, place: Home) -> SweepStatus:
    fresh = views.sweep_by_id(ledger, row.id)
    return sweep_status(ledger, fresh, run_ids(place, fresh), place)


def _is_done(ledger: Ledger, row: SweepRow) -> bool:
    """Whether every trial that the sweep may have has ended."""
    if row.state not in {"finished", "failed"}:
        return False
    trials = views.trials(ledger, row.id)
    counts = Counter(trial.family for trial in trials)
    stopped = {broken.family for broken in find_broken_families(row, trials)}
    asked_all = all(counts[f.name] >= f.trials or f.name in stopped for f in row.spec.families)
    return all(trial.has_ended for trial in trials) and asked_all


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
        facts = sweep_facts(prepared) | _tell_warm_start(ledger, prepared)
        created = ledger.create_sweep(spec, fingerprint=prepared.fingerprint, facts=facts, at=time.time())
        return views.sweep_by_id(ledger, created)
    prepared = prepared.split_as(known.fingerprint)
    if not views.has_journal(ledger, known.id):
        return _rewrite_sweep(ledger, known, prepared)
    carried = compare_sweep(known, prepared.spec, prepared.fingerprint)
    refuse_changes(
        known, carried, accept_code_change=accept_code_change, file=prepared.file.written.document.name
    )
    if carried.spec != known.spec or not place_facts(prepared).items() <= known.facts.items():
        _store_growth(ledger, known, prepared)
    return views.sweep_by_id(ledger, known.id)


def _rewrite_sweep(ledger: Ledger, known: SweepRow, prepared: PreparedSweep) -> SweepRow:
    """A sweep that was refused before its search began is what its corrected file says."""
    facts = sweep_facts(prepared) | _tell_warm_start(ledger, prepared, known.id)
    with commit_as_owner(ledger, known) as commit:
        written: SweepChange = {
            "spec": replace(prepared.spec, version=known.spec.version), "fingerprint": prepared.fingerprint,
            "facts": facts, "updated_at": time.time(),
        }  # fmt: skip
        commit(WriteBatch(sweep=written))
    return views.sweep_by_id(ledger, known.id)


def _tell_warm_start(ledger: Ledger, prepared: PreparedSweep, own: int | None = None) -> JsonObject:
    """What the sweep learns from, told and as a fact: by the time that its search begins a name may mean
    another version, this very one even."""
    found = find_earlier_sweeps(ledger, prepared, own)
    for _, line in found:
        print_stderr(line)
    return {LEARNS_FROM: [sweep for sweep, _ in found]} if found else {}


def _store_growth(ledger: Ledger, known: SweepRow, prepared: PreparedSweep) -> None:
    with commit_as_owner(ledger, known) as commit:
        now, known = time.time(), views.sweep_by_id(ledger, known.id)  # `extend` may have grown it meanwhile
        carried = compare_sweep(known, prepared.spec, prepared.fingerprint)
        batch = WriteBatch(sweep={"spec": carried.spec, "updated_at": now})
        if carried.grown:
            batch.add_event("grown", now, {"families": dict(carried.grown)})
        facts = record_code_change(ledger, known, carried, batch, now)
        batch.sweep["facts"] = facts | file_facts(prepared) | place_facts(prepared)
        commit(batch)


def _commonest_reason(trials: Sequence[TrialRow]) -> str:
    """The commonest reason of failed trials, for the one line that says why nothing succeeded."""
    reasons = Counter(trial.reason for trial in trials if trial.state == "failed" and trial.reason)
    if reasons:
        return str(reasons.most_common(1)[0][0])
    return "every trial was pruned" if any(trial.state == "pruned" for trial in trials) else "no trial ended"
