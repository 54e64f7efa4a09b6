"""The checkpoints of a trial of people's own code: when one is due, and what comes back of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from trainers.functions.checkpoint import pack_states, unpack_states
from trainers.functions.report_log import ReportLog
from trainers.functions.state_dicts import Stateful, check_states, pack_plain, read_plain
from trainers.job import Hooks
from trainers.loop.collectives import RankGroup

if TYPE_CHECKING:
    import torch

    from trainers.functions.job import FunctionJob
    from trainers.types import Document

_Found: TypeAlias = "tuple[Mapping[str, torch.Tensor], Document] | None"


class TrialCheckpoints:
    """Saves what a trial resumes from, the function's plain state in it, and loads it once."""

    def __init__(self, job: FunctionJob, hooks: Hooks, crew: RankGroup, log: ReportLog) -> None:
        """Has loaded nothing."""
        self._job, self._hooks, self._crew, self._log = job, hooks, crew, log
        self._plain: dict[str, Any] | None = None  # nothing asked for it yet
        self._found: _Found = None
        self._saved_at, self._saved_reports = time.monotonic(), 0

    @property
    def has_plain(self) -> bool:
        """Whether the function keeps plain values."""
        return bool(self._plain)

    def plain(self, *, fresh: bool) -> dict[str, Any]:
        """The function's plain values, always the same dict.

        Args:
            fresh: they come back by `resume`, not by being asked for.
        """
        if self._plain is None:
            found = None if fresh else self._load()
            self._plain = {} if found is None else read_plain(found[1].get("plain"))
        return self._plain

    def share(self) -> None:
        """Every rank loads its checkpoint, where there are several.

        Raises:
            InputError: they found different ones, or one found none.
        """
        if self._crew.size > 1:
            self._found = self._hooks.load()
            self._crew.require_same(_reports_in(self._found), "report")

    def is_due(self, *, stopped: bool) -> bool:
        """Whether to save now: as often as the sweep's file says, and before a stop."""
        seconds, epochs = self._job.checkpoint_seconds, self._job.checkpoint_epochs
        late = seconds is not None and time.monotonic() - self._saved_at >= seconds
        reports = self._log.progress.reports - self._saved_reports
        return stopped or late or (epochs is not None and reports >= epochs)

    def save(self, stateful: Mapping[str, Stateful]) -> None:
        """Saves it; every rank calls this."""
        progress = self._log.progress
        tensors, document = pack_states(stateful, progress, self._log.weights, self._crew)
        if self._crew.first:
            plain = pack_plain(self._plain or {})
            self._hooks.save(tensors, {**document, "seen": sorted(self._log.seen), "plain": plain})
        self._saved_at, self._saved_reports = time.monotonic(), progress.reports

    def resume(self, stateful: Mapping[str, Stateful]) -> None:
        """Loads the newest, if there is one, into what is given, the log of reports and the plain values.

        Raises:
            TrialError: something has no state, or the checkpoint has other names.
        """
        check_states(stateful)
        found, log = self._load(), self._log
        self._found = None  # what is in it is the function's from now on
        if found is None:
            return
        tensors, document = found
        log.progress, log.weights = unpack_states(stateful, tensors, document, self._crew)
        log.seen, log.earlier_s = set(document["seen"]), log.progress.seconds
        log.earlier_joules = log.progress.joules
        self._saved_reports = log.progress.reports
        plain = self.plain(fresh=True)
        plain.clear()  # the dict that the function may hold already stays the one
        plain.update(read_plain(document.get("plain")))

    def _load(self) -> _Found:
        return self._found if self._crew.size > 1 else self._hooks.load()


def _reports_in(found: _Found) -> int:
    """How many reports a checkpoint stands at; -1: there is none."""
    return -1 if found is None else int(found[1].get("progress", {}).get("reports", 0))
