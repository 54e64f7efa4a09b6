"""What trials show and keep of their work, as artifacts of their runs, below `samples` and `kept`.

Lanes leave the files in the trial's storage (`trainers.samples.writing`, `infra.storage.kept_files`); here
they are sent once for each change.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from pathlib import Path

from infra.ledger.rows import SweepRow, TrialRow
from infra.mirror import fetch
from infra.storage.paths import kept_folder, samples_folder
from infra.tracking.client import MissingEntity, RequestRejected
from infra.tracking.mapping import run_name, trial_key
from infra.tracking.outbox import SentState
from infra.tracking.run_index import RunIndex
from infra.tracking.run_writer import for_each

log = logging.getLogger("velodrome.tracking")

ARTIFACTS, KEPT = "samples", "kept"


class SampleSender:
    """Sends the samples of one sweep's trials."""

    def __init__(self, runs: RunIndex, sweep: SweepRow, storage: Path) -> None:
        """Prepares; nothing is sent yet.

        Args:
            runs: where the trials' runs are.
            storage: the root below which trials have their folders.
        """
        self._runs, self._sweep, self._storage = runs, sweep, storage

    def send_samples(self, trials: Iterable[TrialRow]) -> None:
        """Sends what trials that have ended show, where it is not what was sent."""
        for_each([trial for trial in trials if trial.has_ended], self._send_folders, self._runs.tracking)

    def _send_folders(self, trial: TrialRow) -> None:
        place = (self._sweep.label, trial.role, trial.family, trial.number)
        self._send_folder(trial, self._storage / samples_folder(*place), ARTIFACTS)
        self._send_folder(trial, self._storage / kept_folder(*place), KEPT)

    def _send_folder(self, trial: TrialRow, folder: Path, artifacts: str) -> None:
        fetch(folder)
        if not folder.is_dir():
            return
        own = trial_key(self._runs.identity, *trial.key)
        run_id, state = self._runs.sent_state(own).run_id, _folder_digest(folder)
        key = f"{own}/{artifacts}"
        if run_id is None or self._runs.sent_state(key).status == state:
            return
        try:
            self._runs.tracking.call("log_artifacts", run_id, str(folder), artifacts)
        except (MissingEntity, RequestRejected) as error:
            log.warning("the %s of %s are not logged: %s", artifacts, run_name(trial), error)
        self._runs.put(key, SentState(status=state))


def _folder_digest(folder: Path) -> str:
    """A digest of names, sizes and times of the files."""
    facts = [
        (str(path.relative_to(folder)), found.st_size, found.st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if (found := path.stat()) and path.is_file()
    ]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
