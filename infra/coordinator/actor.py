"""The Ray actor around the coordinator's core: a lock, a clock that ticks, and the ledger's return.

Lanes call it from other processes; every method may be called twice, since Ray sends a call again when the
actor had to be started anew.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import ray

from infra.coordinator.core import Coordinator
from infra.errors import Fenced, LedgerUnavailable
from infra.ledger.liveness import process_started_at
from infra.ledger.store import Ledger
from infra.protocol import Ended, LaneHello, Pulse, Report, Work
from infra.spec import Resources

TICK_S = 0.5
LEDGER_WAIT_S = 600.0
EXIT_FENCED = 70
MOST_START_FAILURES = 3

Answer = TypeVar("Answer")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActorSettings:
    """What a coordinator is started with; the same again after its process died."""

    ledger_url: str
    sweep_id: int
    token: str
    role: str
    lanes: int
    resources: Mapping[str, Resources]  # of each family, settled on this cluster
    storage: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a sweep stands, for the driver: cheap, read from memory."""

    state: str
    stopping: str | None
    lanes: int
    running: int
    wanted: Mapping[str, tuple[Resources, int]]  # by shape: what its trials need, how many have not ended
    start_failures: tuple[str, ...]


class CoordinatorActor:
    """One sweep's coordinator as an actor."""

    def __init__(self, settings: ActorSettings) -> None:
        """Takes the sweep over from the ledger.

        Raises:
            Fenced: another driver owns the sweep by now.
        """
        self._settings = settings
        self._lock = threading.RLock()
        self._host = socket.gethostname()
        self._handles: dict[str, Any] = {}
        self._start_failures: list[str] = []
        again = bool(ray.get_runtime_context().was_current_actor_reconstructed)
        self._core = self._build(same_driver=again)
        self._settle_due = threading.Event()
        self._settle_due.set()
        for loop in (self._ticking, self._settling):
            threading.Thread(target=loop, daemon=True).start()

    def enter(self, hello: LaneHello, handle: Any = None) -> None:
        """A lane's process is there; `handle` is its actor, to end it if it stops answering."""
        self._handles[hello.lane] = handle
        self._call(lambda core: core.enter(hello))

    def start_failed(self, lane: str, text: str) -> None:
        """A lane could not even begin: its traceback, so that nobody restarts it for ever."""
        self._start_failures.append(text)

    def next_attempts(
        self, hello: LaneHello, ended: Ended | None = None, reports: Sequence[Report] = (), limit: int = 1
    ) -> Work:
        """See `Coordinator.next_attempts`."""
        work = self._call(lambda core: core.next_attempts(hello, ended=ended, reports=reports, limit=limit))
        self._settle_due.set()
        return work

    def attempt_failed(self, ended: Ended, reports: Sequence[Report]) -> None:
        """See `Coordinator.attempt_failed`."""
        self._call(lambda core: core.attempt_failed(ended, reports))

    def pulse(self, hello: LaneHello, attempt: str | None, reports: Sequence[Report] = ()) -> Pulse:
        """See `Coordinator.pulse`."""
        return self._call(lambda core: core.pulse(hello, attempt, reports))

    def decide(self, hello: LaneHello, attempt: str, reports: Sequence[Report]) -> bool:
        """See `Coordinator.decide`."""
        return self._call(lambda core: core.decide(hello, attempt, reports))

    def stop(self, why: str) -> None:
        """See `Coordinator.stop`."""
        self._call(lambda core: core.stop(why))

    def conclude_stop(self) -> None:
        """See `Coordinator.conclude_stop`."""
        self._call(lambda core: core.conclude_stop())

    def standing(self) -> Standing:
        """How the sweep stands."""
        core = self._core
        return Standing(
            state=core.state,
            stopping=core.stopping,
            lanes=core.lanes,
            running=core.running,
            wanted=core.wanted,
            start_failures=tuple(self._start_failures),
        )

    def _call(self, event: Callable[[Coordinator], Answer]) -> Answer:
        with self._lock:
            while True:
                try:
                    return event(self._core)
                except LedgerUnavailable as error:
                    # Memory may be ahead of the ledger now: begin again from what is durable. Every event
                    # is idempotent, so it is simply tried on the new core.
                    _log.warning("%s", error)
                    self._core = self._build(same_driver=True)
                except Fenced:
                    _log.warning("another driver owns this sweep by now")
                    os._exit(EXIT_FENCED)

    def _build(self, *, same_driver: bool) -> Coordinator:
        settings, deadline = self._settings, time.monotonic() + LEDGER_WAIT_S
        while True:
            try:
                ledger = Ledger(settings.ledger_url)
                return Coordinator(
                    ledger,
                    settings.sweep_id,
                    epoch=ledger.raise_epoch(settings.sweep_id, settings.token),
                    role=settings.role,
                    lanes=settings.lanes,
                    resources=settings.resources,
                    same_driver=same_driver,
                )
            except LedgerUnavailable:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1.0)

    def _settling(self) -> None:
        while True:
            self._settle_due.wait()
            self._settle_due.clear()
            self._call(lambda core: core.settle())

    def _ticking(self) -> None:
        while True:
            time.sleep(TICK_S)
            self._call(lambda core: core.tick(self._alive))
            for hello in self._core.take_lost_lanes():
                self._end_process(hello)
            for folder in self._core.take_dropped_models():
                shutil.rmtree(Path(self._settings.storage) / folder, ignore_errors=True)

    def _alive(self, hello: LaneHello) -> bool:
        return hello.host != self._host or process_started_at(hello.pid) == hello.pid_started_at

    def _end_process(self, hello: LaneHello) -> None:
        if hello.host == self._host and process_started_at(hello.pid) == hello.pid_started_at:
            os.kill(hello.pid, signal.SIGKILL)
        elif (handle := self._handles.get(hello.lane)) is not None:
            ray.kill(handle)
