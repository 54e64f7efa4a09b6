"""What is written into one run of MLflow, and how."""

from __future__ import annotations

import json
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from infra.ledger.rows import SweepRow, TrialRow
from infra.secrets import redact
from infra.tracking.client import RequestRejected, TrackingStore
from infra.tracking.mapping import ENDED, Point, to_milliseconds, truncate_text
from infra.tracking.outbox import SentState
from infra.tracking.run_index import RunIndex

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

log = logging.getLogger("velodrome.tracking")

SERVER_RUNS_AT_ONCE = 4  # a server answers ten at once at most, and lanes ask it too
SIDE_BY_SIDE = "velodrome-tracking-run"
Item = TypeVar("Item")


@dataclass(slots=True)
class RunWrite:
    """What one `log_batch` of a run holds."""

    points: list[Point] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)

    def split_kinds(self) -> tuple[RunWrite, RunWrite, RunWrite]:
        """Each kind of content alone."""
        return RunWrite(tags=self.tags), RunWrite(params=self.params), RunWrite(points=self.points)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBeginning:
    """What a run is made with.

    Attributes:
        name: what the UI calls it.
        start: milliseconds since 1970.
        tags: `velodrome.key` among them.
        data: the sweep's data, as its input.
    """

    name: str
    start: int
    tags: dict[str, str]
    data: DatasetInput

    @property
    def all_tags(self) -> dict[str, str]:
        """With the name, which MLflow keeps as a tag too."""
        return {**self.tags, "mlflow.runName": self.name}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialWrite:
    """What brings one trial's run up to date.

    Attributes:
        key: of the run.
        trial: as the ledger has it.
        begins: with what the run is made; None where there is one that was written to.
        params, tags, points: what is added; `tags` only where the run was there before.
        before: the status that MLflow has.
        after: what the run has received then.
        at: now, in seconds since 1970.
    """

    key: str
    trial: TrialRow
    begins: RunBeginning | None
    params: dict[str, str]
    tags: dict[str, str]
    points: list[Point]
    before: str
    after: SentState
    at: float

    @property
    def status(self) -> str:
        """MLflow's, from now on."""
        return self.after.status


def for_each(items: Sequence[Item], work: Callable[[Item], None], tracking: TrackingStore) -> None:
    """Calls `work` for each item: over HTTP several at once, since each call waits for the wire; in order
    otherwise, since a file has one writer. After a failure no other begins.

    Raises:
        Exception: the failure of the first item that failed, once those that were begun have ended.
    """
    at_once = min(SERVER_RUNS_AT_ONCE if tracking.remote else 1, len(items))
    if at_once < 2:
        for item in items:
            work(item)
        return
    waiting, failures, turn = deque(enumerate(items)), dict[int, Exception](), threading.Lock()

    def take_turns() -> None:
        """One item after another, until one has failed or none is left."""
        while True:
            with turn:
                if failures or not waiting:
                    return
                number, item = waiting.popleft()
            try:
                work(item)
            except Exception as error:  # of any kind: the caller's thread raises it
                failures[number] = error

    # Daemons: a server that hangs must not hold up the end of the process.
    threads = [threading.Thread(target=take_turns, name=SIDE_BY_SIDE, daemon=True) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[min(failures)]


def send_write(runs: RunIndex, write: TrialWrite) -> None:
    """Sends it by MLflow's client."""
    begins, made = write.begins, False
    if begins is not None:
        made = runs.ensure_run(write.key, begins.name, begins.start, begins.tags)
    run_id = runs.sent_state(write.key).run_id or ""
    tags = {} if made else write.tags
    log_accepted(runs, write.key, RunWrite(params=write.params, points=write.points, tags=tags))
    if begins is not None:
        with runs.use_data(begins.data.dataset):
            runs.tracking.call("log_inputs", run_id, datasets=[begins.data])
    set_status(runs.tracking, run_id, write.before, write.status, write.trial.ended_at)
    runs.put(write.key, replace(write.after, run_id=run_id))


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
