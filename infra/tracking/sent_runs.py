"""MLflow's runs of a sweep's trials, as this machine sent them."""

from __future__ import annotations

from collections.abc import Mapping

from infra.errors import WrongInput
from infra.home import Home, tracking_uri
from infra.ledger.rows import SweepRow, TrialRow
from infra.tracking.mapping import sweep_identity, trial_key
from infra.tracking.outbox import Outbox


def run_ids(home: Home, row: SweepRow) -> dict[str, str]:
    """MLflow's run of each trial, where one was made, by the trial's key in tracking."""
    if not home.outbox.exists():
        return {}
    try:
        uri = tracking_uri(home, row.spec)
    except WrongInput:  # a variable that only the driver's environment has must not hide the trials
        return {}
    outbox = Outbox(home.outbox, uri, sweep_identity(row))
    try:
        return {key: sent.run_id for key, sent in outbox.runs().items() if sent.run_id}
    finally:
        outbox.close()


def run_id(runs: Mapping[str, str], row: SweepRow, trial: TrialRow) -> str | None:
    """One trial's run among those."""
    if not runs:
        return None
    return runs.get(trial_key(sweep_identity(row), trial.role, trial.family, trial.number))
