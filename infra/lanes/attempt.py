"""One attempt in a lane: from an assignment to how it ended. Knows nothing of Ray."""

from __future__ import annotations

import gc
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from threading import current_thread, main_thread

from infra.coordinator.messages import Assignment, AttemptResult
from infra.coordinator.process_faults import find_process_fault
from infra.errors import StorageUnavailable
from infra.gpus.use import GpuUse, lanes_of, measure_use
from infra.lanes.attempt_functions import (
    MemberContext,
    RunSource,
    discard_shared_mlflow,
    isolate_own_code,
    route_member_mlflow,
    route_mlflow,
)
from infra.lanes.attempt_jobs import AttemptJobs
from infra.lanes.attempt_keeper import AttemptKeeper
from infra.lanes.settings import LaneSettings
from infra.mirror import publish
from infra.spec import SweepSpec
from infra.storage.paths import CHECKPOINTS
from infra.storage.sweep_key import check_lane_key
from trainers.errors import MOST_WORDS, InputError, TrialError, describe_error
from trainers.job import Hooks, Outcome
from trainers.loop.device_memory import HELD_BYTES, find_device_memory
from trainers.loop.memory import is_device_full
from trainers.registry import is_function, load_reference
from trainers.types import Ranks

_MOST_WORDS = 2_000  # of an error of ours, which ends with what to do
_MOST_TRACEBACK = 20_000  # characters at either end: it travels to the ledger


class AttemptRunner:
    """Runs a sweep's attempts in this process, one after another; data sets and families are kept."""

    def __init__(
        self, settings: LaneSettings, *, device: str, ranks: Ranks, runs: RunSource | None = None
    ) -> None:
        """Nothing is loaded yet.

        Args:
            runs: knows the trials' runs in MLflow; None: what trials log there is thrown away.

        Raises:
            WrongInput: this process has another key than the driver.
        """
        check_lane_key(settings.key_name)
        self._settings, self._device, self._ranks, self._runs = settings, device, ranks, runs
        self._memory = find_device_memory(device)
        self.jobs = AttemptJobs(settings, device=device, ranks=ranks)
        self._keeper = AttemptKeeper(self.jobs, rank=ranks.rank, device=device)

    @property
    def spec(self) -> SweepSpec:
        """What the sweep asks for."""
        return self.jobs.spec

    def run(self, assignment: Assignment, hooks: Hooks) -> AttemptResult:
        """Trains, and says how it went; an exception becomes a failure with its class and traceback."""
        began = time.monotonic()
        try:
            ended = self.conclude(assignment, self._train(assignment, hooks))
        except BaseException as error:  # people's code may raise anything: the trial's failure
            if isinstance(error, KeyboardInterrupt) and current_thread() is main_thread():
                raise  # a person's
            ended = self.describe_failure(assignment, error)
            with suppress(StorageUnavailable):  # the failure itself says more
                self._publish_files(assignment)
        finally:
            self.free_memory()
        return replace(ended, seconds=time.monotonic() - began)

    def describe_failure(self, assignment: Assignment, error: BaseException) -> AttemptResult:
        """The failure that an exception is, with its class and traceback."""
        full = self._memory is not None and is_device_full(error)
        if isinstance(error, TrialError):
            reason = error.reason
        elif full or isinstance(error, MemoryError):
            reason = "out-of-memory"
        else:
            reason = "worker-died" if self._is_lost_peer(error) else "error"
        first = _first_line(error)
        if full and self._gpu_lanes > 1:
            first += f"; {self._gpu_lanes} lanes share this GPU"
        text = _cut_middle("".join(traceback.format_exception(error)))
        return AttemptResult(
            attempt=assignment.attempt, outcome="failed", reason=reason, detail=f"{first}\n{text}",
            fault=find_process_fault(error), gpu=self._measure_gpu(assignment, full=full),
        )  # fmt: skip

    def is_shared_failure(self, ended: AttemptResult, assignment: Assignment) -> bool:
        """Whether every rank failed at the same place: our loop agrees on what is not finite."""
        reference = self.spec.family(assignment.family).reference
        return ended.reason == "not-finite" and not is_function(load_reference(reference))

    def _is_lost_peer(self, error: BaseException) -> bool:
        """Whether a collective failed, as it does when another rank's process is gone."""
        if self._ranks.world_size == 1:
            return False
        from torch.distributed import DistError

        while True:
            if isinstance(error, DistError) or "gloo/transport" in str(error):
                return True
            former = error.__cause__ or error.__context__
            if former is None:
                return False
            error = former

    def _train(self, assignment: Assignment, hooks: Hooks) -> Outcome:
        spec, directory = self.spec.family(assignment.family), self.jobs.own_folder(assignment)
        if is_function(load_reference(spec.reference)):
            from trainers.functions.run import run_function

            own = self.jobs.make_function_job(spec, assignment)
            with route_mlflow(self._runs, spec, assignment, directory):
                return run_function(own, hooks)
        from trainers.loop.training import train

        with route_mlflow(self._runs, spec, assignment, directory), isolate_own_code(spec):
            job = self.jobs.make_job(assignment)
            return train(job, self.jobs.encode(job), hooks)

    def route_member(self, assignment: Assignment) -> MemberContext:
        """What a stack's member runs its own code in."""
        spec = self.spec.family(assignment.family)
        return route_member_mlflow(self._runs, spec, assignment, self.jobs.own_folder(assignment))

    @contextmanager
    def route_stack(self, assignment: Assignment) -> Iterator[None]:
        """What a stack runs in that begins with this attempt."""
        spec = self.spec.family(assignment.family)
        with discard_shared_mlflow(spec), isolate_own_code(spec):
            yield

    def conclude(self, assignment: Assignment, outcome: Outcome) -> AttemptResult:
        """What an outcome comes to, its model and its samples kept where they are to be."""
        model, facts = self._keeper.keep(assignment, outcome)
        self._publish_files(assignment)
        return AttemptResult(
            attempt=assignment.attempt, outcome=outcome.status, objective=tuple(outcome.values),
            epoch=outcome.epoch, epochs=outcome.epochs, metrics=dict(outcome.metrics),
            facts={**outcome.facts, **facts}, model=model, gpu=self._measure_gpu(assignment),
        )  # fmt: skip

    def _publish_files(self, assignment: Assignment) -> None:
        """The trial's files, to the bucket that has them; checkpoints go there by themselves."""
        if self._ranks.rank == 0 and (folder := self.jobs.folder(assignment)).is_dir():
            for path in sorted(folder.iterdir()):
                if path.name != CHECKPOINTS:
                    publish(path)

    def free_memory(self) -> None:
        """Gives back what the last attempt left."""
        gc.collect()
        if self._memory is not None:
            self._memory.release()
            self._memory.restart_peak()

    def find_held_memory(self, assignment: Assignment) -> int:
        """Bytes of its GPU that this process holds although an attempt was the last to need them; 0 where
        they are few, or the lane has a share that nobody measured."""
        if self._memory is None or not self._is_measured(assignment) or not self._memory.is_used():
            return 0
        held = self._memory.held_bytes()
        return held if held > HELD_BYTES else 0

    @property
    def _gpu_lanes(self) -> int:
        return lanes_of(self._settings.resources.gpus)

    def _is_measured(self, assignment: Assignment) -> bool:
        """Whether how many lanes share a GPU is decided by what trials take (`gpus: auto`)."""
        asked = self.spec.family(assignment.family).resources
        return asked.gpus is None and asked.workers == 1

    def _measure_gpu(self, assignment: Assignment, *, full: bool = False) -> GpuUse | None:
        if self._memory is None or not self._is_measured(assignment):
            return None
        return measure_use(self._memory, self._gpu_lanes, full=full)


def _first_line(error: BaseException) -> str:
    """In our words without a class before them."""
    ours = isinstance(error, (TrialError, InputError))
    said = describe_error(error, _MOST_WORDS if ours else MOST_WORDS)
    return said.partition(": ")[2] if ours else said


def _cut_middle(text: str) -> str:
    """A traceback whose message may be of any length, with its beginning and its end."""
    if len(text) <= 2 * _MOST_TRACEBACK:
        return text
    return f"{text[:_MOST_TRACEBACK]}\n… ({len(text)} characters) …\n{text[-_MOST_TRACEBACK:]}"
