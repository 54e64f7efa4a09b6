"""A command's metrics where it logs them by MLflow: read back from the run that it was told of."""

from __future__ import annotations

import logging
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from trainers.code.mlflow_calls import folder_store
from trainers.errors import TrialError
from trainers.metric_names import full_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

POLL_S = 1.0
SPARE = "mlflow"  # in the trial's directory, where no run is known
_OURS = ("best/", "system/")  # what nobody else may report
_Moment = tuple[int, int]  # a step, and how many points of the metric were logged at it before
_log = logging.getLogger(__name__)


def logging_environment(directory: Path) -> dict[str, str]:
    """What a command must be told beside this process's environment: a folder takes what it logs where
    tracking is away, so that training goes on."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    known = uri.startswith("file:") or (uri and os.environ.get("MLFLOW_RUN_ID"))
    return {} if known else folder_store(directory / SPARE)


class LoggedMetrics:
    """Points of the command's runs, by step: each step that has every goal is one report.

    The newest step counts once another look found nothing more at it. Velodrome writes reports to the same
    run: such points are told by their name, step, value and time.
    """

    def __init__(self, environment: Mapping[str, str], goals: Iterable[str]) -> None:
        """Reads nothing yet; what was logged before now is an earlier attempt's.

        Args:
            environment: the command's.
            goals: full names; without any, each step with a metric is a report.
        """
        self._uri, self._run_id = environment["MLFLOW_TRACKING_URI"], environment.get("MLFLOW_RUN_ID")
        self._goals = frozenset(goals)
        self._since_ms = int(time.time() * 1000)
        self._client: MlflowClient | None = None
        self._looked_at, self._warned = 0.0, False
        self._told: set[_Moment] = set()
        self._before: dict[_Moment, dict[str, float]] = {}
        self._sent: dict[tuple[str, int], tuple[float, int, int]] = {}

    def note_report(self, number: int, metrics: Mapping[str, float], began_s: float) -> None:
        """What is reported from here comes back in the same run."""
        began_ms, ended_ms = int(began_s * 1000), int(time.time() * 1000)
        for name, value in metrics.items():
            self._sent[full_name(name), number] = (value, began_ms, ended_ms)

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
            found = self._read_moments()
        except Exception as error:  # whatever a client library raises: the next look may do better
            self._fail(error, ended=ended)
            return
        finally:
            self._looked_at = time.monotonic()
        ready = [moment for moment, values in found.items() if self._is_whole(values)]
        for place, moment in enumerate(ready):
            settled = ended or place + 1 < len(ready) or self._before.get(moment) == found[moment]
            if moment not in self._told and settled:
                self._told.add(moment)
                yield found[moment]
        self._before = found

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

    def _read_moments(self) -> dict[_Moment, dict[str, float]]:
        """Every step's values, in the order in which the steps were begun."""
        client = self._connect()
        points: list[tuple[int, str, int, float]] = []
        for run_id in self._run_ids(client):
            for name in client.get_run(run_id).data.metrics:
                history = client.get_metric_history(run_id, name)
                points += [(p.timestamp, name, p.step, p.value) for p in history if self._is_theirs(p)]
        moments: dict[_Moment, dict[str, float]] = {}
        counts: dict[tuple[str, int], int] = defaultdict(int)
        for _, name, step, value in sorted(points):
            moment = (step, counts[name, step])
            counts[name, step] += 1
            moments.setdefault(moment, {})[name] = value
        return moments

    def _is_theirs(self, point: Metric) -> bool:
        if point.timestamp < self._since_ms or point.key.startswith(_OURS):
            return False
        sent = self._sent.get((point.key, point.step))
        if sent is None:
            return True
        value, began_ms, ended_ms = sent
        return not (point.value == value and began_ms <= point.timestamp <= ended_ms)

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
