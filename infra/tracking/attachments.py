"""A file of ours with a sweep's parent run or a trial's. What tracking does or does not do never fails the
command."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from infra.errors import Unavailable, WrongInput
from infra.home import Home, tracking_uri
from infra.ledger.rows import SweepRow
from infra.tracking.client import Connect, TrackingError, TrackingStore, connect, prepare_tracking
from infra.tracking.mapping import KEY, parent_key, sweep_identity, trial_key
from infra.tracking.outbox import Outbox


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachmentResult:
    """`run_id`: of the run that has the file now; None, and `trouble` says why, where none has."""

    run_id: str | None
    trouble: str = ""


def attach_file(
    sweep: SweepRow,
    home: Home,
    content: bytes,
    name: str,
    *,
    trial: tuple[str, int] | None = None,
    folder: str | None = None,
    connect: Connect = connect,
) -> AttachmentResult:
    """Puts a file into the artifacts of a run; an earlier one of the name is replaced.

    Args:
        trial: family and number of a trial of the search; else it is the sweep's parent run.
        folder: of the run's artifacts.
    """
    try:
        uri = tracking_uri(home, sweep.spec)
        if uri == home.mlflow_uri and not (home.path / "mlflow.db").exists():
            return AttachmentResult(run_id=None, trouble="nothing of this sweep was sent to MLflow yet")
        prepare_tracking(uri, home)
        tracking = connect(uri)
        identity = sweep_identity(sweep)
        key = parent_key(identity) if trial is None else trial_key(identity, "search", *trial)
        run_id = find_run(sweep, home, uri, tracking, key)
        if run_id is None:
            whose = "sweep" if trial is None else "trial"
            return AttachmentResult(run_id=None, trouble=f"MLflow has no run of this {whose}")
        with tempfile.TemporaryDirectory(prefix="velodrome-") as aside:
            path = Path(aside) / name
            path.write_bytes(content)
            tracking.call("log_artifact", run_id, str(path), folder)
    except (TrackingError, Unavailable, WrongInput, OSError) as error:
        return AttachmentResult(run_id=None, trouble=f"not kept in MLflow: {error}")
    return AttachmentResult(run_id=run_id)


def find_run(sweep: SweepRow, home: Home, uri: str, tracking: TrackingStore, key: str) -> str | None:
    """The run of a key of this sweep, whoever sent it; None where there is none."""
    return _run_in_outbox(sweep, home, uri, key) or _run_in_store(sweep, tracking, key)


def _run_in_outbox(sweep: SweepRow, home: Home, uri: str, key: str) -> str | None:
    """The run that this home's sender made."""
    if not home.outbox.exists():
        return None
    outbox = Outbox(home.outbox, uri, sweep_identity(sweep))
    try:
        found = outbox.runs().get(key)
    finally:
        outbox.close()
    return found.run_id if found else None


def _run_in_store(sweep: SweepRow, tracking: TrackingStore, key: str) -> str | None:
    """The run that another home's sender made."""
    experiment = tracking.call("get_experiment_by_name", sweep.spec.experiment or sweep.label)
    if experiment is None:
        return None
    query = f"tags.`{KEY}` = '{key}'"
    runs = tracking.call("search_runs", [experiment.experiment_id], query, max_results=1)
    return str(runs[0].info.run_id) if runs else None
