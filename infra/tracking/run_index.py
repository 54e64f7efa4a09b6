"""The experiment and the runs of one sweep: found again by their key before any is made.

`create_run` is not idempotent in MLflow. A key is written to the outbox before its run is created, so that
after a crash or a lost answer exactly the doubtful ones are looked for.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from infra.ledger.rows import SweepRow
from infra.secrets import redact
from infra.tracking.client import MissingEntity, RequestRejected, TrackingStore, TrackingUnavailable
from infra.tracking.mapping import KEY, SWEEP, best_name, parent_key, sweep_identity
from infra.tracking.outbox import Outbox, SentState

if TYPE_CHECKING:
    from mlflow.entities import Dataset, Run
    from mlflow.store.entities import PagedList

_PAGE = 1_000


class RunIndex:
    """Which run belongs to which key, and what it has received."""

    def __init__(self, tracking: TrackingStore, outbox: Outbox, sweep: SweepRow, artifacts: Path) -> None:
        """Reads the outbox; asks tracking nothing yet.

        Args:
            tracking: where the runs are.
            outbox: what is known of them here.
            sweep: whose runs.
            artifacts: folder for the artifacts of a store without a server.
        """
        self.tracking, self._outbox, self._artifacts = tracking, outbox, artifacts
        self._sweep, self.identity = sweep, sweep_identity(sweep)
        self.experiment_id = ""
        self.cursor = 0
        self._sent: dict[str, SentState] = {}
        self._data, self._data_turn = set[tuple[str, str]](), threading.Lock()

    # -- opening -------------------------------------------------------------------------------------------

    def open(self) -> bool:
        """Finds what is there already. False: tracking has lost what was sent, and all is to be sent
        again."""
        known = self._outbox.cursor()
        if known is not None:
            self.cursor, self.experiment_id = known
            self._sent = self._outbox.runs()
            if self._is_still_there():
                return True
            self.forget()
        self.experiment_id = self._find_experiment()
        self._adopt_runs()
        self._outbox.advance(0, self.experiment_id)
        return known is None

    def forget(self) -> None:
        """Nothing of this sweep is in tracking any more."""
        self._outbox.forget()
        self.cursor, self.experiment_id, self._sent = 0, "", {}

    def advance(self, seq: int) -> None:
        """Every event up to `seq` has been sent."""
        if seq > self.cursor:
            self.cursor = seq
            self._outbox.advance(seq, self.experiment_id)

    def _is_still_there(self) -> bool:
        try:
            experiment = self.tracking.call("get_experiment", self.experiment_id)
        except MissingEntity:
            return False
        return (
            experiment.lifecycle_stage == "active" and self.is_alive(parent_key(self.identity)) is not False
        )

    def is_alive(self, key: str) -> bool | None:
        """Whether a key's run is there and ours; None where it was never made or is in the trash."""
        run_id = self.sent_state(key).run_id
        if run_id is None:
            return None
        try:
            run = self.tracking.call("get_run", run_id)
        except MissingEntity:
            return False
        if run.data.tags.get(KEY) != key:  # another database has the same ids
            return False
        return None if run.info.lifecycle_stage != "active" else True

    def _adopt_runs(self) -> None:
        """A lost outbox: what tracking has of this sweep is ours, and is filled up from the start."""
        if self._search_runs(f"tags.`{KEY}` = '{parent_key(self.identity)}'", 1):
            for run in self._all_runs(f"tags.`{SWEEP}` = '{self.identity}'"):
                if run.info.lifecycle_stage == "active" or run.data.tags[KEY] not in self._sent:
                    self.put(run.data.tags[KEY], SentState(run_id=run.info.run_id))

    def _search_runs(self, query: str, limit: int, token: str | None = None) -> PagedList[Run]:
        from mlflow.entities import ViewType

        found: PagedList[Run] = self.tracking.call(
            "search_runs",
            [self.experiment_id],
            query,
            run_view_type=ViewType.ALL,
            max_results=limit,
            page_token=token,
        )
        return found

    def _all_runs(self, query: str) -> Iterator[Run]:
        token = None
        while True:
            page = self._search_runs(query, _PAGE, token)
            yield from page
            token = page.token
            if not token:
                return

    # -- experiment ----------------------------------------------------------------------------------------

    def _find_experiment(self) -> str:
        """The experiment of that name; a deleted one stays deleted, and the next free name is taken."""
        wanted = self._sweep.spec.experiment or self._sweep.label
        for attempt in range(1, 100):
            name = wanted if attempt == 1 else f"{wanted}-{attempt}"
            found = self.tracking.call("get_experiment_by_name", name)
            if found is None:
                return self._create_experiment(name)
            if found.lifecycle_stage == "active":
                return str(found.experiment_id)
        raise RequestRejected(f"get_experiment_by_name: {wanted} and 98 more of that name are deleted")

    def _create_experiment(self, name: str) -> str:
        location = None if self.tracking.remote else _artifact_folder(self._artifacts, name).as_uri()
        goal = self._sweep.spec.objectives[0]
        tags = {
            "mlflow.experimentKind": "custom_model_development",
            "mlflow.experiment.primaryMetric.name": best_name(goal.metric),
            "mlflow.experiment.primaryMetric.greaterIsBetter": str(goal.direction == "maximize"),
        }
        try:
            return str(self.tracking.call("create_experiment", name, artifact_location=location, tags=tags))
        except RequestRejected:  # somebody else made it between our two calls
            found = self.tracking.call("get_experiment_by_name", name)
            if found is None or found.lifecycle_stage != "active":
                raise
            return str(found.experiment_id)

    # -- runs ----------------------------------------------------------------------------------------------

    def sent_state(self, key: str) -> SentState:
        """What a key's run has received; an empty record where there is none."""
        return self._sent.get(key, SentState())

    def put(self, key: str, sent: SentState) -> None:
        """Notes what a key's run has received."""
        self._sent[key] = sent
        self._outbox.put(key, sent)

    def knows(self, key: str) -> bool:
        """Whether the key's run is there, or may be: it was about to be made."""
        return key in self._sent

    def put_all(self, sent: Mapping[str, SentState]) -> None:
        """Notes what many runs have received, at once."""
        self._sent.update(sent)
        self._outbox.put_all(sent)

    def run_ids(self) -> dict[str, str]:
        """The run of each key that has one."""
        return {key: sent.run_id for key, sent in self._sent.items() if sent.run_id}

    def ensure_run(self, key: str, name: str, start: int, tags: Mapping[str, str]) -> bool:
        """Makes the key's run where there is none. Whether it was made by this call.

        Args:
            key: its identity.
            name: what the UI calls it.
            start: milliseconds since 1970.
            tags: all it begins with, `velodrome.key` among them.
        """
        if self.sent_state(key).run_id is not None:
            return False
        try:
            return self._make_run(key, name, start, tags)
        except TrackingUnavailable as error:
            if not self.tracking.has_broken(error):
                raise
        return self._make_run(key, name, start, tags)

    def _make_run(self, key: str, name: str, start: int, tags: Mapping[str, str]) -> bool:
        """Makes it, unless it is found where an earlier try was not answered."""
        run_id = self._find_run(key) if key in self._sent else None
        made = run_id is None
        if made:
            self.put(key, SentState())
            run = self.tracking.call(
                "create_run", self.experiment_id, start_time=start, tags=dict(tags), run_name=name
            )
            run_id = str(run.info.run_id)
        self.put(key, SentState(run_id=run_id))
        return made

    @contextmanager
    def use_data(self, data: Dataset) -> Iterator[None]:
        """While a run gets its input. MLflow makes a dataset with the first run that has it, and fails where
        two do so at once: the first is alone."""
        known = (data.name, data.digest)
        with self._data_turn:
            if known not in self._data:
                yield
                self._data.add(known)
                return
        yield

    def _find_run(self, key: str) -> str | None:
        found = self._search_runs(f"tags.`{KEY}` = '{key}'", 1)
        return str(found[0].info.run_id) if found else None

    def list_statuses(self, *, running_only: bool) -> Iterator[tuple[str, str, str]]:
        """Key, run id and status of every run of the sweep, as MLflow has it."""
        query = f"tags.`{SWEEP}` = '{self.identity}'"
        for run in list(
            self._all_runs(f"{query} and attributes.status = 'RUNNING'" if running_only else query)
        ):
            if run.info.lifecycle_stage == "active":
                yield run.data.tags.get(KEY, ""), run.info.run_id, run.info.status


def _artifact_folder(artifacts: Path, name: str) -> Path:
    """A folder for an experiment's artifacts whose name cannot leave its parent."""
    plain = re.sub(r"[^\w-]", "_", redact(name))[:80]
    return artifacts / (
        plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    )
