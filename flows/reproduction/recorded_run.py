"""A run that was recorded: found by its id in MLflow or by its number, and what it was trained with."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress

from flows.config.lookup import close_on_error, open_ledger, open_sweep
from flows.sweeps.views.states import pick_trial
from infra.errors import WrongInput
from infra.home import Home, tracking_uri
from infra.ledger import views
from infra.ledger.rows import SweepRow, TrialRow
from infra.ledger.store import Ledger
from infra.tracking.client import TrackingError, connect, is_unused
from infra.tracking.mapping import KEY, sweep_identity, trial_key
from infra.tracking.sent_runs import run_ids

_RUN_ID = re.compile(r"[0-9a-f]{32}")

Found = tuple[Ledger, SweepRow, TrialRow]


def find_recorded_run(run: str, trial: int | None, family: str | None, home: Home) -> Found:
    """The run, its sweep, and the open ledger that holds them.

    Args:
        run: MLflow's run id of a trial or a confirmation; or a sweep's name or file, with `trial`.

    Raises:
        WrongInput: there is no such run, or it cannot be known which.
    """
    if trial is not None:
        ledger, row = open_sweep(run, home)
        with close_on_error(ledger):
            return ledger, row, pick_trial(ledger, row, trial, family)
    if not _RUN_ID.fullmatch(run):
        raise WrongInput(
            "a run must be given by its id in MLflow, or by a sweep's name and --trial N",
            repr(run),
            f"velodrome reproduce {run} --trial 0",
        )
    opened = open_ledger(home)
    if opened is None:
        raise _missing_run_error(run)
    with close_on_error(opened):
        return opened, *_find_by_id(opened, run, home)


def _missing_run_error(run: str) -> WrongInput:
    return WrongInput(
        "a run of that id must be in this home's ledger", run, "name its sweep instead: NAME --trial N"
    )


def _find_by_id(ledger: Ledger, run: str, home: Home) -> tuple[SweepRow, TrialRow]:
    rows = views.sweeps(ledger)
    for row in rows:  # what this home has sent needs no tracking store that answers
        for key, known in run_ids(home, row).items():
            if known == run:
                return _find_by_key(ledger, row, run, key)
    key = next(filter(None, (_read_trial_key(uri, run) for uri in _tracking_stores(rows, home))), "")
    for row in rows:
        if key.startswith(f"{sweep_identity(row)}/"):
            return _find_by_key(ledger, row, run, key)
    raise _missing_run_error(run)


def _tracking_stores(rows: Sequence[SweepRow], home: Home) -> list[str]:
    """The tracking stores of the sweeps that are there; a variable that is not set hides only its own."""
    found = {}
    for row in rows:
        with suppress(WrongInput):
            uri = tracking_uri(home, row.spec)
            if not is_unused(uri):
                found[uri] = True
    return list(found)


def _find_by_key(ledger: Ledger, row: SweepRow, run: str, key: str) -> tuple[SweepRow, TrialRow]:
    for trial in views.trials(ledger, row.id, role=None):
        if trial_key(sweep_identity(row), *trial.key) == key:
            return row, trial
    raise WrongInput("the run must be one trial's", f"{run} of the sweep {row.label}", "give a child's id")


def _read_trial_key(uri: str, run: str) -> str:
    try:
        found = connect(uri).call("get_run", run)
    except TrackingError:
        return ""
    return str(found.data.tags.get(KEY) or "")
