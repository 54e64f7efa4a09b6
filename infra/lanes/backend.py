"""The one place that leans on Ray Train's developer surface: workers that are independent of each other.

`TorchTrainer` would put all lanes of a run into one process group: torchmetrics would average the numbers
of unrelated trials, one lane computing alone would hang, and one dead lane would restart all. A backend
that starts nothing and says that its workers are replica groups (made for TorchFT) gets none of this: Ray
replaces a dead worker alone.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import ray
from ray._raylet import PlacementGroupID
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.train.backend import Backend, BackendConfig
from ray.train.v2._internal.callbacks.datasets import DatasetsCallback
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.train.v2._internal.execution.controller.controller import TrainController
from ray.train.v2._internal.execution.scaling_policy.fixed import FixedScalingPolicy
from ray.train.v2._internal.execution.worker_group import DefaultPlacementGroupHandle
from ray.train.v2._internal.execution.worker_group.worker_group import WorkerGroup
from ray.train.v2.api.config import RunConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.util.placement_group import (
    PlacementGroup,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

from infra.lanes.settings import LaneConfig

if TYPE_CHECKING:
    from ray.train import Result
    from ray.train.v2._internal.execution.context import TrainRunContext
    from ray.train.v2._internal.execution.worker_group.execution_group import ReplicaGroup
    from ray.train.v2._internal.execution.worker_group.placement_group_handle import PlacementGroupHandle
    from ray.train.v2._internal.execution.worker_group.state import WorkerGroupContext
    from ray.train.v2.api.callback import RayTrainCallback

    from infra.coordinator.shell.actor import CoordinatorHandle

ANSWER_LIMIT_S = 60.0


class LaneBackend(Backend):
    """Starts nothing; each worker is a replica group of its own."""

    share_cuda_visible_devices = False
    has_replica_groups = True


class LaneBackendConfig(BackendConfig):
    """Chooses `LaneBackend`."""

    @property
    def backend_cls(self) -> type[LaneBackend]:
        """The backend's class."""
        return LaneBackend


class NamedWorkerGroup(WorkerGroup):
    """A worker group whose placement group bears its run's name, by which the driver can free it.

    Ray frees one only when the actor that made it and the whole job are gone: the resources of a run whose
    controller was killed would stay taken. Its own cleaner needs the dashboard to see such a death.
    """

    def _create_placement_group(
        self, scaling_config: ScalingConfig, worker_group_context: WorkerGroupContext
    ) -> PlacementGroupHandle:
        if scaling_config.use_tpu:
            return super()._create_placement_group(scaling_config, worker_group_context)
        made = placement_group(
            bundles=[worker_group_context.resources_per_worker] * worker_group_context.num_workers,
            strategy=worker_group_context.placement_strategy,
            bundle_label_selector=worker_group_context.label_selector,
            name=f"{self._train_run_context.run_config.name}/{uuid.uuid4().hex[:8]}",
        )
        return DefaultPlacementGroupHandle(made)


def remove_placement_groups(run: str) -> None:
    """Gives back what a run that has ended left taken."""
    for place, known in placement_group_table().items():
        if known["name"].startswith(f"{run}/") and known["state"] != "REMOVED":
            remove_placement_group(PlacementGroup(PlacementGroupID(bytes.fromhex(place))))


def list_pending_runs(runs: Collection[str]) -> set[str]:
    """Those of the runs that Ray looks for room for."""
    states: dict[str, set[str]] = {}
    for known in placement_group_table().values():
        states.setdefault(known["name"].partition("/")[0], set()).add(known["state"])
    return {run for run in runs if "PENDING" in states.get(run, ()) and "CREATED" not in states[run]}


class LaneWorkerGroup(NamedWorkerGroup):
    """A worker group in which several workers may die at once.

    Before it replaces one, Ray asks all others to clear their results, and takes a second dead one among
    them for an error of the run, which then ends with every healthy lane in it.
    """

    def replace_replica_group(self, replica_group_index: int) -> None:
        """Replaces one worker; others that are dead too are given up first, and replaced in their turn."""
        for group in self._replica_groups or ():
            if group.is_active() and not _is_alive(group):
                group.shutdown()  # type: ignore[no-untyped-call]  # Ray's own
        super().replace_replica_group(replica_group_index)


def _is_alive(group: ReplicaGroup) -> bool:
    try:
        ray.get([worker.actor.clear_result_queue.remote() for worker in group.get_workers()])
    except (RayActorError, OutOfMemoryError):  # ended for memory, an actor's death is no RayActorError
        return False
    return True


class RunStartCallback(ControllerCallback):
    """Runs in a run's controller process, before it starts workers."""

    def __init__(self, name: str, coordinator: CoordinatorHandle, *, independent: bool) -> None:
        """Nothing happens yet.

        Args:
            name: the run's.
            coordinator: an actor handle; it is told the controller's, by which the run can be ended.
            independent: whether the run's workers are lanes of their own.
        """
        self._name, self._coordinator, self._independent = name, coordinator, independent

    def after_controller_start(self, train_run_context: TrainRunContext) -> None:
        """Makes the controller known, and makes it use our worker groups."""
        TrainController.worker_group_cls = LaneWorkerGroup if self._independent else NamedWorkerGroup
        controller = ray.get_runtime_context().current_actor
        ray.get(self._coordinator.register_run.remote(self._name, controller), timeout=ANSWER_LIMIT_S)


class NoAutoscaling(FixedScalingPolicy):
    """Asks no autoscaler for nodes."""

    def after_controller_start(self, train_run_context: TrainRunContext) -> None:
        """Makes no request."""

    def _maybe_send_resource_request(self) -> None:
        return


class ClusterLanes(DataParallelTrainer):
    """A run without the actors that it does not need.

    One would wait for the controller's death to free its placement group. It is detached, and asks the
    dashboard: on a cluster without one it never sees a death, and stays for ever. The driver frees what its
    runs leave by name (`NamedWorkerGroup`), and Ray the rest with the job.
    """

    needless: tuple[type[RayTrainCallback], ...] = (PlacementGroupCleanerCallback,)

    def _create_default_callbacks(self) -> list[RayTrainCallback]:
        made = super()._create_default_callbacks()
        return [callback for callback in made if not isinstance(callback, self.needless)]


class LocalLanes(ClusterLanes):
    """A run on a Ray of our own, without the actors that it does not need there either.

    One would hand out shards of Ray data sets, one speak to an autoscaler. Each is a process that imports
    half of Ray: together a third of a run's start.
    """

    needless = (PlacementGroupCleanerCallback, DatasetsCallback)

    def _initialize_and_run_controller(self, **settings: Any) -> Result:
        # Ray's hints have the configurations of Ray Train before its second version here and below.
        settings["scaling_policy"] = NoAutoscaling(self.scaling_config)  # type: ignore[arg-type]
        return super()._initialize_and_run_controller(**settings)


def make_independent_trainer(
    function: Callable[[LaneConfig], None],
    config: LaneConfig,
    scaling: ScalingConfig,
    run: RunConfig,
    *,
    own_ray: bool,
) -> DataParallelTrainer:
    """A Ray Train run whose workers know nothing of each other."""
    kind = LocalLanes if own_ray else ClusterLanes
    return kind(
        function,
        train_loop_config=config,
        backend_config=LaneBackendConfig(),
        scaling_config=scaling,
        run_config=run,  # type: ignore[arg-type]
    )
