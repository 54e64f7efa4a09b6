"""A command's metrics where it logs them by MLflow: read back from the run that it was told of."""

from __future__ import annotations

import logging
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from trainers.code.mlflow_calls import folder_store
from trainers.errors import TrialError
from trainers.metric_names import full_name

if TYPE_CHECKING:
    from mlflow import MlflowClient

POLL_S = 1.0
_FORMER_S = 60.0  # for an earlier attempt's points, while tracking is away
SPARE = "mlflow"  # in the trial's directory, where no run is known
_OURS = ("best/", "system/")  # what nobody else may report
_Moment = tuple[int, int]  # a step, and how many points of the metric were logged at it before
_Report = tuple[str, int, str]  # a metric's full name, the report's number and the value's text
_log = logging.getLogger(__name__)


class _Point(NamedTuple):
    time_ms: int
    name: str
    step: int
    value: str  # its text: no NaN is equal to another


def logging_environment(directory: Path) -> dict[str, str]:
    """What a command must be told beside this process's environment: a folder takes what it logs where
    tracking is away, so that training goes on."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    known = uri.startswith("file:") or (uri and os.environ.get("MLFLOW_RUN_ID"))
    return {} if known else folder_store(directory / SPARE)


class LoggedMetrics:
    """Points of the command's runs, by step: each step that has every goal is one report.

    Points are told apart by which were there before and in which order they come to be seen: by their times
    alone those of an earlier attempt would be taken for new ones, or new ones for old, once a clock is set.
    The newest step counts once another look found nothing more at it. Velodrome writes reports to the same
    run: for each report one point of its name, step and value is left out.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        goals: Iterable[str],
        earlier: Mapping[int, Mapping[str, float]] = MappingProxyType({}),
        *,
        attempt: int = 1,
    ) -> None:
        """What is in its runs by now is somebody else's, or an earlier attempt's.

        Args:
            environment: the command's.
            goals: full names; without any, each step with a metric is a report.
            earlier: reports of earlier attempts by their numbers: some may still be on their way to the run.
            attempt: which one this is; in the run of a first one there is nothing yet.

        Raises:
            TrialError: something may be there, and it cannot be read.
        """
        self._uri, self._run_id = environment["MLFLOW_TRACKING_URI"], environment.get("MLFLOW_RUN_ID")
        self._goals = frozenset(goals)
        self._client: MlflowClient | None = None
        self._looked_at, self._warned = 0.0, False
        self._told: set[_Moment] = set()
        self._moments: dict[_Moment, dict[str, float]] = {}  # in the order in which they came to be seen
        self._points: Counter[_Point] = Counter()  # that were seen
        self._counts: Counter[tuple[str, int]] = Counter()  # of a metric's points at a step
        self._echoes: Counter[_Report] = Counter()  # that are to come
        for number, metrics in earlier.items():
            self.note_report(number, metrics)
        if attempt > 1 or self._run_id is None:
            self._points = self._read_former()

    def note_report(self, number: int, metrics: Mapping[str, float]) -> None:
        """What is reported from here comes back in the same run."""
        self._echoes.update((full_name(name), number, repr(value)) for name, value in metrics.items())

    def read_new(self, *, ended: bool = False) -> Iterator[dict[str, float]]:
        """The numbers of each step that is whole since the last look.

        Args:
            ended: nothing more comes: the newest step counts as it is.

        Raises:
            TrialError: the runs cannot be read at the end.
        """
        if not ended and time.monotonic() - self._looked_at < POLL_S:
            return
        try:
            changed = self._take_new_points()
        except Exception as error:  # whatever a client library raises: the next look may do better
            self._fail(error, ended=ended)
            return
        finally:
            self._looked_at = time.monotonic()
        ready = [moment for moment, values in self._moments.items() if self._is_whole(values)]
        for place, moment in enumerate(ready):
            settled = ended or place + 1 < len(ready) or moment not in changed
            if moment not in self._told and settled:
                self._told.add(moment)
                yield dict(self._moments[moment])

    def _is_whole(self, values: Mapping[str, float]) -> bool:
        return self._goals <= {full_name(name) for name in values}

    def _fail(self, error: Exception, *, ended: bool) -> None:
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        if ended:
            do = "its reports are lost with it; log to a file and write metrics: {file: metrics.jsonl}"
            raise TrialError("what a command logs by MLflow must be readable", text, do) from error
        if not self._warned:
            self._warned = True
            _log.warning("what the command logs by MLflow cannot be read now, and is tried again: %s", text)

    def _read_former(self) -> Counter[_Point]:
        """All points by now; reports among them have come back."""
        deadline = time.monotonic() + _FORMER_S
        while True:
            try:
                found = self._read_points()
            except Exception as error:  # as in `read_new`
                if time.monotonic() >= deadline:
                    self._fail(error, ended=True)
                time.sleep(POLL_S)
                continue
            for point in found.elements():
                self._is_echo(point)
            return found

    def _take_new_points(self) -> set[_Moment]:
        """The steps at which something was logged since the last look."""
        found = self._read_points()
        new, self._points = found - self._points, found
        changed: set[_Moment] = set()
        for point in sorted(new.elements()):
            if point.name.startswith(_OURS) or self._is_echo(point):
                continue
            moment = (point.step, self._counts[point.name, point.step])
            self._counts[point.name, point.step] += 1
            self._moments.setdefault(moment, {})[point.name] = float(point.value)
            changed.add(moment)
        return changed

    def _is_echo(self, point: _Point) -> bool:
        """Whether a report comes back; each does once."""
        report = (point.name, point.step, point.value)
        if not self._echoes[report]:
            return False
        self._echoes[report] -= 1
        return True

    def _read_points(self) -> Counter[_Point]:
        """All that is in its runs."""
        client = self._connect()
        return Counter(
            _Point(found.timestamp, name, found.step, repr(found.value))
            for run_id in self._run_ids(client)
            for name in client.get_run(run_id).data.metrics
            for found in client.get_metric_history(run_id, name)
        )

    def _connect(self) -> MlflowClient:
        if self._client is None:
            from mlflow import MlflowClient

            self._client = MlflowClient(tracking_uri=self._uri)
        return self._client

    def _run_ids(self, client: MlflowClient) -> list[str]:
        """The run that it was told of; of a store of its own all there are."""
        if self._run_id is not None:
            return [self._run_id]
        if self._uri.startswith("file:") and not Path(self._uri.removeprefix("file://")).is_dir():
            return []  # nothing is logged yet
        experiments = [found.experiment_id for found in client.search_experiments()]
        return [str(run.info.run_id) for run in client.search_runs(experiments)]
