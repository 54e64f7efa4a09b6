"""What is written into one run of MLflow, and how."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from infra.ledger.rows import SweepRow, TrialRow
from infra.secrets import redact
from infra.tracking.client import RequestRejected, TrackingStore
from infra.tracking.mapping import ENDED, Point, to_milliseconds, truncate_text
from infra.tracking.run_index import RunIndex

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

log = logging.getLogger("velodrome.tracking")


@dataclass(slots=True)
class RunWrite:
    """What one `log_batch` of a run holds."""

    points: list[Point] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)

    def split_kinds(self) -> tuple[RunWrite, RunWrite, RunWrite]:
        """Each kind of content alone."""
        return RunWrite(tags=self.tags), RunWrite(params=self.params), RunWrite(points=self.points)


def log_accepted(runs: RunIndex, key: str, write: RunWrite) -> None:
    """Writes into the run of that key; what tracking will never take must not keep the rest from it."""
    run_id = runs.sent_state(key).run_id or ""
    try:
        log_batch(runs.tracking, run_id, write)
    except RequestRejected:
        if runs.is_alive(key) is not True:
            raise
        for part in write.split_kinds():
            _log_part(runs, run_id, part, key)


def _log_part(runs: RunIndex, run_id: str, part: RunWrite, key: str) -> None:
    try:
        log_batch(runs.tracking, run_id, part)
    except RequestRejected as error:
        log.warning("%s: tracking does not take something, which is left out: %s", key, error)


def log_batch(tracking: TrackingStore, run_id: str, write: RunWrite) -> None:
    """All of it in one call; none where there is nothing to write."""
    from mlflow.entities import Metric, Param, RunTag

    if not (write.points or write.params or write.tags):
        return
    tracking.call(
        "log_batch",
        run_id,
        metrics=[Metric(*point) for point in write.points],
        params=[Param(name, value) for name, value in write.params.items()],
        tags=[RunTag(name, value) for name, value in write.tags.items()],
    )


def set_status(
    tracking: TrackingStore, run_id: str, before: str, status: str, ended_at: float | None
) -> None:
    """Changes a run's status, where it is another; `ended_at` in seconds, for what has ended."""
    if status == before:
        return
    if status in ENDED:
        tracking.call("set_terminated", run_id, status, to_milliseconds(ended_at or 0) or None)
    else:
        tracking.call("update_run", run_id, status)


def dataset_input(sweep: SweepRow, trial: TrialRow) -> DatasetInput:
    """The sweep's data as MLflow's input of a trial's run, with its context; addresses redacted."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    data = {name: value for name, value in sweep.spec.data.items() if name != "source"}
    source = redact(str(sweep.spec.data.get("source", "none")))
    dataset = Dataset(
        name=truncate_text(source, 500),
        digest=sweep.fingerprint[:36],
        source_type="local",
        source=json.dumps({"uri": source}),
        profile=redact(json.dumps(data)),
    )
    context = "training" if trial.role == "search" else "confirmation"
    return DatasetInput(dataset, tags=[InputTag("mlflow.data.context", context)])
