"""Ray Train runs, each kept going by a thread of the driver."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from infra.coordinator.placement import RunPlan
from infra.errors import VelodromeError
from infra.lanes.settings import LaneSettings
from infra.mirror import find_mirror

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    from infra.coordinator.shell.actor import CoordinatorHandle

NODE_LABEL = "ray.io/node-id"  # which every node of Ray's has
THREADS = "lanes-"
POLL_S = 0.2
_log = logging.getLogger(__name__)


def is_any_run_alive() -> bool:
    """Whether a thread of this process still waits for a run. Ray must not be closed under it: a call of
    Ray's, or a reference that dies, in between ends the process at once with status 1."""
    return any(thread.name.startswith(THREADS) for thread in threading.enumerate())


def end_runs(
    runs: Sequence[LaneRun],
    ask: Callable[[], None],
    *,
    first_s: float,
    again_s: float,
    limit_s: float,
    is_hurried: Callable[[], bool] = lambda: False,
) -> bool:
    """Waits until no thread waits for a run any more; False when the limit passed first.

    Args:
        ask: ends the runs' controllers; a coordinator that is busy, or is just starting anew, may not do it.
        first_s, again_s: how long runs have to end by themselves, and after each asking.
        limit_s: of all of it.
        is_hurried: whether to wait no longer.
    """
    deadline = time.monotonic() + limit_s
    wait_s = first_s
    while not _join(runs, min(deadline, time.monotonic() + wait_s), is_hurried):
        if time.monotonic() >= deadline or is_hurried():
            return False
        with contextlib.suppress(VelodromeError):
            ask()
        wait_s = again_s
    return True


def _join(runs: Sequence[LaneRun], deadline: float, is_hurried: Callable[[], bool]) -> bool:
    for run in runs:
        while not run.join(min(POLL_S, max(0.0, deadline - time.monotonic()))):
            if time.monotonic() >= deadline or is_hurried():
                return False
    return True


class LaneRun:
    """One `fit()`: it lasts as long as its lanes have work, and Ray replaces lanes that die."""

    def __init__(
        self,
        plan: RunPlan,
        settings: LaneSettings,
        coordinator: CoordinatorHandle,
        scratch: Path,
        *,
        own_ray: bool,
    ) -> None:
        """Nothing starts yet.

        Args:
            settings: of the lanes; `run` is replaced by this run's own name.
            scratch: where Ray Train keeps its own files.
            own_ray: whether Ray is this process's own and ends with it.
        """
        self.plan = plan
        # A name that was used before would make Ray Train look for that run's checkpoints.
        self.name = f"{THREADS}{uuid.uuid4().hex[:8]}"
        self._settings = replace(settings, run=self.name, shape=plan.shape, resources=plan.resources)
        self._coordinator, self._scratch, self._own_ray = coordinator, scratch, own_ray
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._fit, daemon=True, name=self.name)

    def start(self) -> None:
        """Begins in a thread of its own."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether `fit()` has not returned."""
        return self._thread.is_alive()

    def join(self, timeout_s: float) -> bool:
        """Waits for the end; False when the limit passed first."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def release(self) -> None:
        """Gives back what the run, which has ended, left taken."""
        from infra.lanes.backend import remove_placement_groups

        remove_placement_groups(self.name)

    def _fit(self) -> None:
        try:
            self._make_trainer().fit()
        except SystemExit:
            pass  # what `ray.shutdown` does to a thread that waits for a run
        except Exception as error:  # whatever ended the run is for the driver's thread to judge
            self.error = error

    def _label_selector(self) -> dict[str, str] | None:
        """What a node must say of itself. Unbound runs would take each other's places on unlike nodes: one of
        two lanes waits for ever where one of a single lane stands on the only node of two."""
        bound = {NODE_LABEL: self.plan.node} if self.plan.node and not self._own_ray else {}
        return {**self.plan.resources.labels, **bound} or None

    def _ray_storage(self) -> tuple[str, FileSystem | None]:
        """Where Ray Train keeps its own files: it asks of workers elsewhere that they see them."""
        mirror = None if self._own_ray else find_mirror(self._scratch)
        if mirror is None:
            return str(self._scratch), None
        return mirror.bucket.for_ray(mirror.locate(self._scratch))

    def _make_trainer(self) -> DataParallelTrainer:
        from ray.train.v2.api.config import CheckpointConfig, FailureConfig, RunConfig, ScalingConfig

        from infra.lanes.backend import RunStartCallback, make_independent_trainer

        resources = self.plan.resources
        per_worker: dict[str, float] = {"CPU": resources.cpus}
        if resources.gpus:
            per_worker["GPU"] = resources.gpus
        if resources.memory_bytes:
            per_worker["memory"] = resources.memory_bytes
        alone = resources.workers == 1
        scaling = ScalingConfig(
            num_workers=self.plan.lanes if alone else resources.workers,
            use_gpu=bool(resources.gpus),
            resources_per_worker=per_worker,
            placement_strategy="STRICT_PACK" if alone else "PACK",
            accelerator_type=resources.accelerator,
            label_selector=self._label_selector(),
        )
        place, files = self._ray_storage()
        run = RunConfig(
            name=self.name,
            storage_path=place,
            storage_filesystem=files,
            failure_config=FailureConfig(max_failures=-1),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            callbacks=[RunStartCallback(self.name, self._coordinator, independent=alone)],  # type: ignore[list-item]  # for users, its hint says
        )
        from infra.lanes.ray_worker import run_lane

        config = {"settings": self._settings, "coordinator": self._coordinator}
        if alone:
            return make_independent_trainer(run_lane, config, scaling, run, own_ray=self._own_ray)
        from infra.lanes.ranks import make_ranked_trainer

        return make_ranked_trainer(run_lane, config, scaling, run, own_ray=self._own_ray)
