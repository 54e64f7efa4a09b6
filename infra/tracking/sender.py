"""Sends the ledger to tracking from one background thread of the driver. Training never waits for it.

Tracking may be away, hang, lose its database or refuse; the ledger keeps everything, and what is not yet sent
goes out, in order and once, as soon as tracking takes it.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Collection, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from infra.coordinator.run_requests import KnownRuns, TrialKey
from infra.errors import Unavailable
from infra.home import Home
from infra.ledger import views
from infra.ledger.rows import EventRow, SweepRow, TrialRow
from infra.ledger.store import Ledger
from infra.secrets import redact
from infra.tracking.backoff import Backoff
from infra.tracking.client import (
    Connect,
    RequestRejected,
    TrackingStore,
    TrackingUnavailable,
    connect,
    prepare_tracking,
)
from infra.tracking.defaults import TrainingDefaults
from infra.tracking.mapping import Point, final_points, report_points, sweep_identity, trial_key
from infra.tracking.mlflow_environment import set_defaults
from infra.tracking.model_logger import ModelLogger
from infra.tracking.outbox import Outbox
from infra.tracking.projection import Projection, TrackingLost, trial_keys
from infra.tracking.run_index import RunIndex
from infra.tracking.sample_sender import SampleSender

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel

log = logging.getLogger("velodrome.tracking")

INTERVAL_S = 2.0  # between two looks at the ledger
LONGEST_INTERVAL_S = 15.0
IDLE_SHARE = 20  # the sender rests this many times as long as it worked
PAGE_EVENTS = 1_000  # sent before the next look: what a drain sees of its progress
LOSSES = 3  # how often one pass starts anew because tracking lost everything
CONCLUDED = frozenset({"finished", "stopped", "failed"})


class Sender:
    """One sweep's way to MLflow. Either as a thread (`start`, `drain`, `stop`) or by `send_once`."""

    def __init__(
        self,
        ledger_url: str,
        sweep_id: int,
        *,
        uri: str,
        home: Home,
        storage: Path,
        environ: MutableMapping[str, str] = os.environ,
        connect: Connect = connect,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Opens the ledger; reaches for tracking only when something is sent.

        Args:
            ledger_url: read through a connection of the sender's own.
            sweep_id: the sweep's id in the ledger.
            uri: MLflow's, with `${VARIABLE}` resolved. Never logged.
            home: where the outbox and the embedded store's artifacts are.
            storage: kept models are below it.
            environ: gets MLflow's settings before MLflow is imported.
            connect: makes the client; another one in tests.
            clock: seconds that only pass.
        """
        set_defaults(environ)
        self._ledger, self._sweep_id = Ledger(ledger_url), sweep_id
        self._sweep: SweepRow = views.sweep_by_id(self._ledger, sweep_id)
        self._uri, self._home, self._storage = uri, home, storage
        self._connect, self._clock = connect, clock
        self._outbox = Outbox(home.outbox, uri, sweep_identity(self._sweep))
        self._tracking: TrackingStore | None = None
        self._runs: RunIndex | None = None
        self._projection: Projection | None = None
        self._concluded = ""  # the sweep's state that tracking was brought up to, models included
        self.patience = Backoff(uri, clock=time.monotonic)
        self._busy = threading.Lock()  # one pass at a time
        self._turn = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = self._hurry = False
        self.passes = self._failures = 0

    # -- one pass --------------------------------------------------------------------------------------------

    def send_once(self) -> int:
        """Sends everything that is in the ledger now.

        Returns:
            How many events were sent.

        Raises:
            TrackingUnavailable: tracking did not take it; what was sent is remembered.
            LedgerUnavailable: the ledger could not be read.
        """
        with self._busy:
            for _ in range(LOSSES):
                try:
                    return self._send_all()
                except TrackingLost:
                    self._start_over()
            raise TrackingUnavailable("tracking loses what it is sent, again and again")

    def _send_all(self) -> int:
        runs, projection = self._open_runs()
        count = 0
        while page := views.events(self._ledger, self._sweep_id, after=runs.cursor, limit=PAGE_EVENTS):
            self._send_page(runs, projection, page)
            count += len(page)
        if count == 0:
            projection.send_events((), self._clock())  # trials that have waited long enough by now
        self._send_conclusion(runs, projection)
        return count

    def _send_page(self, runs: RunIndex, projection: Projection, page: list[EventRow]) -> None:
        changed = views.trials_by_key(self._ledger, self._sweep_id, trial_keys(page))
        projection.refresh(views.sweep_by_id(self._ledger, self._sweep_id), changed)
        projection.send_events(page, self._clock())
        projection.send_sweep()
        SampleSender(runs, projection.sweep, self._storage).send_samples(changed)
        runs.advance(page[-1].seq)

    def _send_conclusion(self, runs: RunIndex, projection: Projection) -> None:
        """Once a sweep has ended: every run as the ledger has it, and the models that are kept."""
        state = projection.sweep.state
        if state == self._concluded or state not in CONCLUDED:
            self._concluded = state
            return
        trials = views.trials(self._ledger, self._sweep_id, role=None)
        projection.refresh(views.sweep_by_id(self._ledger, self._sweep_id), trials)
        projection.reconcile(abandoned=False)
        SampleSender(runs, projection.sweep, self._storage).send_samples(trials)
        ModelLogger(runs, projection.sweep, self._storage, self._trial_points).log_models(trials)
        self._concluded = state

    def _trial_points(self, trial: TrialRow) -> list[Point]:
        """A trial's numbers at its kept epoch, exactly as its run has them."""
        events = views.trial_events(self._ledger, self._sweep_id, trial, "reported")
        kept = next((event for event in events if event.payload["epoch"] == trial.epoch), None)
        return [*(report_points(kept) if kept else ()), *final_points(self._sweep, trial)]

    def reconcile(self, *, abandoned: bool = False) -> None:
        """Makes MLflow's runs say what the ledger says, after a machine or a process died.

        Args:
            abandoned: nobody runs the sweep any more: running trials are shown as waiting.
        """
        self.send_once()
        with self._busy:
            _, projection = self._open_runs()
            trials = views.trials(self._ledger, self._sweep_id, role=None)
            projection.refresh(views.sweep_by_id(self._ledger, self._sweep_id), trials)
            projection.reconcile(abandoned=abandoned)

    def log_model(self, trial: TrialRow) -> LoggedModel:
        """MLflow's logged model of a trial, logged now where it was not; everything else is sent first."""
        self.send_once()
        with self._busy:
            runs, projection = self._open_runs()
            return ModelLogger(runs, projection.sweep, self._storage, self._trial_points).ensure_logged(trial)

    def count_unsent(self) -> int:
        """How many events tracking has not got."""
        known = self._outbox.cursor()
        return views.count_events(self._ledger, self._sweep_id, "*", after=known[0] if known else 0)

    def run_ids(self) -> dict[str, str]:
        """MLflow's run of each key (`infra.tracking.mapping.trial_key`) that was sent from here."""
        return {key: sent.run_id for key, sent in self._outbox.runs().items() if sent.run_id}

    def find_runs(self, trials: Collection[TrialKey]) -> KnownRuns:
        """What is known of the runs of trials that wait for them; those that are missing are made now."""
        identity, known = sweep_identity(self._sweep), self.run_ids()
        keys = {trial: known.get(trial_key(identity, *trial)) for trial in trials}
        found = {trial: run_id for trial, run_id in keys.items() if run_id is not None}
        away = self.patience.has_failed
        if len(found) < len(keys) and not away:
            self.start()
            self.wake()
        return KnownRuns(runs=found, away=away)

    def _open_runs(self) -> tuple[RunIndex, Projection]:
        if self._runs is not None and self._projection is not None:
            return self._runs, self._projection
        artifacts = self._home.artifacts
        runs = RunIndex(self._connect_tracking(), self._outbox, self._sweep, artifacts)
        if not runs.open():
            log.warning(
                "tracking has lost this sweep (an empty or another database?): all of it is sent again"
            )
        self._sweep = views.sweep_by_id(self._ledger, self._sweep_id)
        trials = views.trials(self._ledger, self._sweep_id, role=None)
        projection = Projection(runs, self._sweep, trials, TrainingDefaults())
        projection.ensure_parent()
        self._runs, self._projection = runs, projection
        return runs, projection

    def _connect_tracking(self) -> TrackingStore:
        if self._tracking is None:
            prepare_tracking(self._uri, self._home)
            self._tracking = self._connect(self._uri)
        return self._tracking

    def _start_over(self) -> None:
        log.warning("tracking has lost this sweep (deleted, or another database): all of it is sent again")
        self._outbox.forget()
        self._runs = self._projection = None
        self._concluded = ""

    # -- the thread ------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Loads MLflow and makes its embedded store in a daemon thread, and writes nothing yet.

        That takes seconds of processor time: while Ray starts a core has nothing to do, later lanes need it.
        """
        threading.Thread(target=self._prepare_store, name="velodrome-tracking-prepares", daemon=True).start()

    def _prepare_store(self) -> None:
        with self._busy, suppress(Exception):  # the first pass meets whatever it is again, and says so
            self._connect_tracking()

    def start(self) -> None:
        """Begins to send, in a daemon thread."""
        if self._thread is None:
            self._stopping = False
            self._thread = threading.Thread(target=self._send_loop, name="velodrome-tracking", daemon=True)
            self._thread.start()

    def wake(self) -> None:
        """Ends the thread's rest, where it rests: what has happened goes out now."""
        with self._turn:
            self._turn.notify_all()

    def stop(self, timeout_s: float = 10.0) -> None:
        """Ends the thread after the pass it is in, and gives connections back."""
        with self._turn:
            self._stopping = True
            self._turn.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)
            if self._thread.is_alive():  # it hangs in a call; the connections are its own until it returns
                return
        self._thread = None
        self._outbox.close()
        self._ledger.close()

    def drain(self, timeout_s: float, *, while_it_moves: bool = False) -> int:
        """Sends until all is sent, tracking turns out to be away, or the time is up.

        Args:
            timeout_s: how long to wait.
            while_it_moves: the time begins anew whenever something more has been sent: thousands of short
                trials end faster than tracking takes them.

        Returns:
            How many events are not sent.
        """
        self.start()
        deadline, left = time.monotonic() + timeout_s, self.count_unsent()
        with self._turn:
            self._hurry = True
            passes, failures = self.passes, self._failures
            self._turn.notify_all()
            # The pass in progress may have read the ledger before the last event: wait for a whole one.
            while self._failures == failures and self.passes < passes + 2:
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    before, left = left, self.count_unsent()
                    if not while_it_moves or left >= before:
                        break
                    deadline = time.monotonic() + timeout_s
                    continue
                self._turn.wait(left_s)
            self._hurry, failed = False, self._failures > failures
        # All events may be there, and a state or a model of the end not yet.
        return max(self.count_unsent(), int(failed))

    def _send_loop(self) -> None:
        while not self._stopping:
            began = time.monotonic()
            ok = self._try_once()
            spent_s = time.monotonic() - began
            rest_s = min(max(INTERVAL_S, IDLE_SHARE * spent_s), LONGEST_INTERVAL_S)
            with self._turn:
                self.passes += ok
                self._failures += not ok
                self._turn.notify_all()
                if not self._stopping and not (ok and self._hurry):
                    self._turn.wait(rest_s if ok else self.patience.wait_s())

    def _try_once(self) -> bool:
        try:
            self.patience.probe_server()
            self.send_once()
        except Exception as error:  # the boundary: nothing that tracking does may end a sweep
            self.patience.record_failure()
            self._warn_once(error)
            return False
        if self.patience.record_success():
            log.warning("tracking answers again; what was not sent has been sent")
        return True

    def _warn_once(self, error: Exception) -> None:
        if self.patience.is_first_failure:
            known = isinstance(error, (TrackingUnavailable, RequestRejected, Unavailable))
            what = "tracking is away" if known else "tracking failed unexpectedly"
            log.warning(
                "%s, the sweep goes on and sends later: %s", what, redact(str(error)) or type(error).__name__
            )
