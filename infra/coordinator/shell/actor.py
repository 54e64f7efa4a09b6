"""The Ray actor around the coordinator's core: what lanes and the driver call, and a clock that ticks.

Lanes call it from other processes; every method may be called twice, since Ray sends a call again when the
actor had to be started anew.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import ray

from infra.coordinator.core import Coordinator
from infra.coordinator.messages import (
    AttemptReports,
    AttemptResult,
    EpochReport,
    HeartbeatReply,
    LaneHandshake,
    LaneWork,
    StackChoice,
    StackHeartbeatReply,
    StackRequest,
)
from infra.coordinator.run_requests import KnownRuns, RunAnswer, RunRequests, TrialKey
from infra.coordinator.shell.durable_core import LEDGER_WAIT_S, Answer, DurableCore
from infra.coordinator.shell.lane_processes import AnyHandle, LaneProcesses
from infra.coordinator.shell.status import ActorSettings, CoordinatorStatus
from infra.coordinator.shell.structures import Structures
from infra.errors import StorageUnavailable
from infra.mirror import discard, find_mirror

if TYPE_CHECKING:
    from ray.actor import ActorClass, ActorHandle

    from trainers.types import Document

TICK_S = 0.5
STANDING_WAIT_S = 0.5
# A sampler that computes holds the interpreter for 5 ms at each switch of threads: the answer to the lane
# that waits, which passes through several threads of Ray's, leaves first.
ANSWER_LEAVES_S = 0.01

CoordinatorHandle: TypeAlias = "ActorHandle[CoordinatorActor]"
TOGETHER = 8  # calls that may wait at once and then share a commit
_log = logging.getLogger(__name__)


class CoordinatorActor:
    """One sweep's coordinator as an actor."""

    def __init__(self, settings: ActorSettings) -> None:
        """Takes the sweep over from the ledger, or waits until it is told to."""
        self._settings = settings
        self._processes = LaneProcesses()
        find_structure = Structures(settings.sys_path).find_structure
        self._core = DurableCore(settings, self._processes.is_oom_killed, find_structure)
        self._controllers: dict[str, AnyHandle] = {}
        self._drops = ThreadPoolExecutor(max_workers=1)  # a bucket may take a minute to say that it is away
        self._start_failures: list[str] = []
        self._run_requests = RunRequests(settings.tracking)
        self._stood = CoordinatorStatus()
        again = bool(ray.get_runtime_context().was_current_actor_reconstructed)
        self._settle_due, self._has_begun = threading.Event(), threading.Event()
        self._waiting: set[str] = set()
        if not settings.waits:
            self._begin(same_driver=again)

    @ray.method(concurrency_group="begin")
    def take_over(self, same_driver: bool) -> None:
        """Takes the sweep over from the ledger, where it was somebody else's until now.

        Args:
            same_driver: see `Coordinator`.
        """
        if not self._has_begun.is_set():
            self._begin(same_driver=same_driver)

    def _begin(self, *, same_driver: bool) -> None:
        self._core.begin(same_driver=same_driver)
        self._settle_due.set()
        for loop in (self._tick_loop, self._prefetch_loop):
            threading.Thread(target=loop, daemon=True).start()
        self._has_begun.set()

    def register_lane(self, hello: LaneHandshake, handle: AnyHandle | None = None) -> None:
        """A lane's process is there; `handle` is its actor, to end it if it stops answering."""
        self._processes.register(hello, handle)
        self._waiting.add(hello.lane)
        self._call(lambda core: core.register_lane(hello))

    @ray.method(concurrency_group="quick")
    def register_run(self, run: str, controller: AnyHandle) -> None:
        """A Ray Train run's controller is there."""
        self._controllers[run] = controller

    @ray.method(concurrency_group="quick")
    def end_runs(self) -> None:
        """Ends the runs that began since this process did, and with each its lanes."""
        for controller in self._controllers.values():
            ray.kill(controller)

    @ray.method(concurrency_group="quick")
    def end_run(self, run: str) -> None:
        """Ends one run whose lanes do not come up."""
        if (controller := self._controllers.pop(run, None)) is not None:
            ray.kill(controller)

    def record_supply(self, planned: int, waits_for: str, claim: Document | None = None) -> None:
        """See `Coordinator.record_supply`."""
        self._call(lambda core: core.record_supply(planned, waits_for, claim))

    def dismiss_runs(self, runs: Collection[str]) -> None:
        """See `SickLanes.dismiss`."""
        self._call(lambda core: core.sick.dismiss(runs))

    def leave_out(self, nodes: Collection[str]) -> None:
        """See `SickLanes.leave_out`."""
        self._call(lambda core: core.sick.leave_out(nodes))

    def evacuate(self, nodes: Collection[str]) -> None:
        """See `SickLanes.evacuate`."""
        self._call(lambda core: core.sick.evacuate(nodes))

    def report_start_failure(self, lane: str, text: str) -> None:
        """A lane could not even begin: its traceback, so that nobody restarts it for ever."""
        self._start_failures.append(text)

    @ray.method(concurrency_group="quick")
    def find_run(self, trial: TrialKey, wanted: bool) -> RunAnswer:
        """See `RunRequests.find`."""
        return self._run_requests.find(trial, wanted=wanted)

    @ray.method(concurrency_group="quick")
    def answer_runs(self, found: KnownRuns) -> None:
        """See `RunRequests.answer`."""
        self._run_requests.answer(found)

    def next_attempts(
        self,
        hello: LaneHandshake,
        ended: AttemptResult | None = None,
        reports: Sequence[EpochReport] = (),
        limit: int = 1,
    ) -> LaneWork:
        """See `Coordinator.next_attempts`."""
        work = self._call(lambda core: core.next_attempts(hello, ended=ended, reports=reports, limit=limit))
        self._settle_due.set()
        return work

    def refill_stack(
        self,
        hello: LaneHandshake,
        request: StackRequest,
        ended: Sequence[AttemptResult] = (),
        reports: AttemptReports | None = None,
    ) -> LaneWork:
        """See `Coordinator.refill_stack`."""
        work = self._call(lambda core: core.refill_stack(hello, request, ended=ended, reports=reports))
        self._settle_due.set()
        return work

    def record_stack_choice(self, hello: LaneHandshake, choice: StackChoice) -> None:
        """See `Coordinator.record_stack_choice`."""
        self._call(lambda core: core.record_stack_choice(hello, choice))

    def note_held_memory(self, hello: LaneHandshake, held_bytes: int) -> None:
        """See `Coordinator.note_held_memory`."""
        self._call(lambda core: core.note_held_memory(hello, held_bytes))

    def report_attempt_failure(self, ended: AttemptResult, reports: Sequence[EpochReport]) -> None:
        """See `Coordinator.report_attempt_failure`."""
        self._call(lambda core: core.report_attempt_failure(ended, reports))

    def heartbeat(
        self, hello: LaneHandshake, attempt: str | None, reports: Sequence[EpochReport] = ()
    ) -> HeartbeatReply:
        """See `Coordinator.heartbeat`."""
        return self._call(lambda core: core.heartbeat(hello, attempt, reports))

    def decide(self, hello: LaneHandshake, attempt: str, reports: Sequence[EpochReport]) -> bool:
        """See `Coordinator.decide`."""
        return self._call(lambda core: core.decide(hello, attempt, reports))

    def heartbeat_stack(self, hello: LaneHandshake, reports: AttemptReports) -> StackHeartbeatReply:
        """See `Coordinator.heartbeat_stack`."""
        return self._call(lambda core: core.heartbeat_stack(hello, reports))

    def decide_stack(self, hello: LaneHandshake, reports: AttemptReports) -> frozenset[str]:
        """See `Coordinator.decide_stack`."""
        return self._call(lambda core: core.decide_stack(hello, reports))

    def stop(self, why: str) -> None:
        """See `Coordinator.stop`."""
        self._call(lambda core: core.stop(why))

    def conclude_stop(self) -> None:
        """See `Coordinator.conclude_stop`."""
        self._call(lambda core: core.conclude_stop())

    # Answered while another call waits for the ledger.
    @ray.method(concurrency_group="quick")
    def status(self) -> CoordinatorStatus:
        """How the sweep stands; while the ledger is away, how it stood."""
        if not self._has_begun.is_set():
            return CoordinatorStatus(
                waits=True, waiting_lanes=len(self._waiting), start_failures=tuple(self._start_failures)
            )
        with self._core.look_between(STANDING_WAIT_S) as core:
            if core is not None:
                self._stood = CoordinatorStatus(
                    state=core.state, stopping=core.stopping, lanes=core.lanes, running=core.running,
                    wanted=core.demand, lanes_by_run=core.lanes_by_run, sick_nodes=core.sick.count_by_node(),
                    run_sizes=core.needs.run_sizes, gpu_lanes=core.needs.gpu_lanes,
                )  # fmt: skip
        return replace(
            self._stood, start_failures=tuple(self._start_failures), away=self._core.away,
            failure=self._core.failure, wanted_runs=self._run_requests.wanted_trials,
        )  # fmt: skip

    def _call(self, event: Callable[[Coordinator], Answer]) -> Answer:
        if not self._has_begun.wait(LEDGER_WAIT_S):
            raise RuntimeError("the coordinator was not told to take the sweep over")
        return self._core.call(event)

    def _prefetch_loop(self) -> None:
        while self._core.failure is None:
            self._settle_due.wait()
            self._settle_due.clear()
            time.sleep(ANSWER_LEAVES_S)
            self._call(lambda core: core.prefetch_trials())

    def _tick_loop(self) -> None:
        while self._core.failure is None:
            time.sleep(TICK_S)
            self._processes.look_for_kills()
            self._call(lambda core: core.tick(self._processes.is_alive))
            with self._core.look_between(LEDGER_WAIT_S) as core:
                lost = core.take_lost_lanes() if core is not None else []
                dropped = core.take_dropped_folders() if core is not None else []
            for hello in lost:
                self._processes.end(hello)
            for folder in dropped:
                path = Path(self._settings.storage) / folder
                shutil.rmtree(path, ignore_errors=True)
                if find_mirror(path) is not None:
                    self._drops.submit(_discard_stored, path)


def _discard_stored(folder: Path) -> None:
    try:
        discard(folder)
    except StorageUnavailable as error:  # `gc` finds what is left
        _log.warning("%s was not removed: %s", folder, error)


def actor_class() -> ActorClass[CoordinatorActor]:
    """The class that Ray makes an actor of."""
    groups = {"quick": 1, "begin": 1}
    decorate = ray.remote(max_concurrency=TOGETHER, concurrency_groups=groups)  # type: ignore[call-overload]  # Ray's hints leave both out
    made: ActorClass[CoordinatorActor] = decorate(CoordinatorActor)
    return made
