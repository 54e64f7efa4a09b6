"""The coordinator's core with its ledger: whose turn it is, and a new core where the ledger was away."""

from __future__ import annotations

import logging
import os
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias, TypeVar

from infra.coordinator.core import Coordinator
from infra.coordinator.messages import LaneHandshake
from infra.coordinator.shell.group_commit import GroupCommit, PendingCall
from infra.coordinator.shell.status import ActorSettings
from infra.errors import FencedError, LedgerDamaged, LedgerUnavailable, VelodromeError
from infra.ledger.store import Ledger
from infra.spec import FamilySpec
from trainers.types import Params

LEDGER_WAIT_S = 600.0
LEDGER_RETRY_S = 0.2
EXIT_FENCED = 70

Answer = TypeVar("Answer")
Event: TypeAlias = Callable[[Coordinator], Any]
_log = logging.getLogger(__name__)


class DurableCore:
    """Answers calls from many threads by one core at a time.

    Attributes:
        away: why the ledger cannot be written now; empty where it can.
        failure: what ended the coordinator's work for good.
    """

    def __init__(
        self,
        settings: ActorSettings,
        starved: Callable[[LaneHandshake], bool],
        structure_of: Callable[[FamilySpec, Params], str | None],
    ) -> None:
        """Has no core before `begin`.

        Args:
            starved: see `Coordinator`, and so for `structure_of`.
        """
        self._settings, self._starved, self._structure_of = settings, starved, structure_of
        self._turns: GroupCommit[Event] = GroupCommit(self._answer_all)
        self._ledger: Ledger | None = None
        self._core: Coordinator
        self.away = ""
        self.failure: Exception | None = None

    def begin(self, *, same_driver: bool) -> None:
        """Takes the sweep over from the ledger."""
        self._core = self._build_core(same_driver=same_driver)

    def call(self, event: Callable[[Coordinator], Answer]) -> Answer:
        """The event's answer, once it is in the ledger."""
        answer: Answer = self._turns.call(event)
        return answer

    @contextmanager
    def look_between(self, limit_s: float) -> Iterator[Coordinator | None]:
        """The core between two groups of events, where what memory says is in the ledger too; None where that
        takes too long."""
        with self._turns.exclusive_access(limit_s) as mine:
            yield self._core if mine else None

    def close(self) -> None:
        """Lets go of the ledger."""
        if self._ledger is not None:
            self._ledger.close()

    def _answer_all(self, group: Sequence[PendingCall[Event]]) -> None:
        try:
            self._try_group(group)
        except FencedError:
            _log.warning("another driver owns this sweep by now")
            os._exit(EXIT_FENCED)
        except VelodromeError as error:
            self.failure = error
            raise
        except Exception as error:  # a defect of ours: the driver must hear of it, whoever called
            self.failure = RuntimeError(f"the coordinator failed\n{traceback.format_exc()}")
            raise error

    def _try_group(self, group: Sequence[PendingCall[Event]]) -> None:
        deadline = time.monotonic() + LEDGER_WAIT_S
        while True:
            try:
                with self._core.batch_events():
                    for asked in group:
                        asked.answer = asked.event(self._core)
                self.away = ""
                return
            except LedgerDamaged:  # that no waiting mends
                raise
            except LedgerUnavailable as error:
                # Memory may be ahead of the ledger now: begin again from what is durable. Every event
                # is idempotent, so all of them are simply tried on the new core.
                if time.monotonic() > deadline:
                    raise
                if not self.away:
                    _log.warning("%s", error)
                self.away = str(error)
                time.sleep(LEDGER_RETRY_S)
                self._core = self._build_core(same_driver=True)

    def _build_core(self, *, same_driver: bool) -> Coordinator:
        settings, deadline = self._settings, time.monotonic() + LEDGER_WAIT_S
        while True:
            try:
                self.close()  # its connections may be why
                self._ledger = Ledger(settings.ledger_url)
                return Coordinator(
                    self._ledger,
                    settings.sweep_id,
                    epoch=self._ledger.raise_epoch(settings.sweep_id, settings.token),
                    role=settings.role,
                    lanes=settings.lanes,
                    resources=settings.resources,
                    gpu_rooms=settings.gpu_rooms,
                    same_driver=same_driver,
                    starved=self._starved,
                    structure_of=self._structure_of,
                )
            except LedgerDamaged:
                raise
            except LedgerUnavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1.0)
