"""`velodrome retry`: failed trials again, with other resources if asked."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace

from flows.config.lookup import sweep_in_ledger
from flows.sweeps.compatibility import record_code_change
from flows.sweeps.ownership import Commit, change_sweep
from flows.sweeps.recorded_state import check_recorded_sweep
from flows.terminal.json_results import PlainResult
from infra.errors import WrongInput
from infra.home import Home
from infra.ledger import views
from infra.ledger.batch import WriteBatch
from infra.ledger.requeue import requeue_trial
from infra.ledger.rows import SweepRow, TrialRow
from infra.ledger.store import Ledger

MOST_GPUS = 1024
MOST_CPUS = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryResult(PlainResult):
    """What was asked for. `trials`: how many failed ones wait again, by family. `asked_driver`: a running
    driver took it up; else the sweep was carried on by this call."""

    sweep: str
    trials: dict[str, int]
    resources: dict[str, float]
    asked_driver: bool


def retry(
    name: str,
    *,
    gpus: float | None = None,
    cpus: float | None = None,
    memory_bytes: int | None = None,
    accept_code_change: bool = False,
    home: Home | None = None,
) -> RetryResult:
    """Puts the failed trials of a sweep back to waiting; a sweep that nobody runs is carried on.

    Args:
        gpus, cpus, memory_bytes: what one worker of these trials gets instead; None leaves it as it is.
        accept_code_change: carry on though a family's source changed, as after a correction; recorded. A
            running driver goes on with the code that it began with.

    Raises:
        WrongInput: no such sweep, resources that cannot be, or code or data that are not the sweep's.
        OwnedElsewhere: the driver did not answer.
    """
    resources = _requested_resources(gpus, cpus, memory_bytes)
    place = home or Home.from_environment()
    with sweep_in_ledger(name, place) as (ledger, row):
        result = RetryResult(
            sweep=row.label, trials=_count_failed(ledger, row), resources=resources, asked_driver=False
        )
        if not result.trials:
            return result

        def requeue(commit: Commit) -> None:
            """As whoever owns the sweep."""
            fresh = views.sweep_by_id(ledger, row.id)
            change = check_recorded_sweep(fresh, place, accept_code_change=accept_code_change)
            batch = WriteBatch(sweep={"spec": change.spec, "updated_at": time.time()})
            batch.sweep["facts"] = record_code_change(ledger, fresh, change, batch, time.time())
            for trial in _failed_trials(ledger, fresh):  # another command may have run some meanwhile
                requeue_trial(trial, resources)
                batch.add_event("retry", time.time(), {"resources": resources}, trial)
            commit(batch)

        if change_sweep(ledger, row, "retry", {"resources": resources}, requeue):
            return replace(result, asked_driver=True)
    from flows.sweeps.sweep import resume_sweep

    resume_sweep(row.label, home=place)
    return result


def _count_failed(ledger: Ledger, row: SweepRow) -> dict[str, int]:
    """By family, in the file's order; families without any are left out."""
    counts = Counter(trial.family for trial in _failed_trials(ledger, row))
    return {entry.name: counts[entry.name] for entry in row.spec.families if counts[entry.name]}


def _failed_trials(ledger: Ledger, row: SweepRow) -> list[TrialRow]:
    return [trial for trial in views.trials(ledger, row.id) if trial.state == "failed"]


def _requested_resources(
    gpus: float | None, cpus: float | None, memory_bytes: int | None
) -> dict[str, float]:
    if gpus is not None and not (0 <= gpus <= MOST_GPUS and (gpus <= 1 or gpus == int(gpus))):
        raise WrongInput("--gpus must be a fraction below 1 or a whole number", f"{gpus:g}")
    if cpus is not None and not 0 < cpus <= MOST_CPUS:
        raise WrongInput("--cpus must be above 0", f"{cpus:g}")
    if memory_bytes is not None and memory_bytes < 1:
        raise WrongInput("--memory must be above 0", str(memory_bytes))
    given = {"gpus": gpus, "cpus": cpus, "memory_bytes": memory_bytes}
    return {name: value for name, value in given.items() if value is not None}
