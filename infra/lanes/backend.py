"""The one place that leans on Ray Train's developer surface: workers that are independent of each other.

`TorchTrainer` would put all lanes of a run into one process group: torchmetrics would average the numbers
of unrelated trials, one lane computing alone would hang, and one dead lane would restart all. A backend
that starts nothing and says that its workers are replica groups (made for TorchFT) gets none of this: Ray
replaces a dead worker alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.train import RunConfig, ScalingConfig
from ray.train.backend import Backend, BackendConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from infra.errors import ClusterUnavailable


class LaneBackend(Backend):  # type: ignore[misc]
    """Starts nothing; each worker is a replica group of its own."""

    share_cuda_visible_devices = False
    has_replica_groups = True


class LaneBackendConfig(BackendConfig):  # type: ignore[misc]
    """Chooses `LaneBackend`."""

    @property
    def backend_cls(self) -> type[LaneBackend]:
        """The backend's class."""
        return LaneBackend


def check_surface() -> None:
    """Refuses a Ray whose surface has changed, before a sweep leans on it.

    Raises:
        ClusterUnavailable: the installed Ray has no replica groups.
    """
    import ray
    from ray.train.v2._internal.execution.controller.controller import TrainController
    from ray.train.v2._internal.execution.worker_group.worker_group import WorkerGroup

    if not (
        hasattr(Backend, "has_replica_groups")
        and hasattr(TrainController, "_replace_bad_workers")
        and hasattr(WorkerGroup, "replace_replica_group")
    ):
        raise ClusterUnavailable(
            "lanes need a Ray Train that replaces single workers",
            f"Ray {ray.__version__}",
            "install ray==2.60.0",
        )


def independent_workers(
    function: Callable[[dict[str, Any]], Any], config: dict[str, Any], scaling: ScalingConfig, run: RunConfig
) -> DataParallelTrainer:
    """A Ray Train run whose workers know nothing of each other."""
    return DataParallelTrainer(
        function,
        train_loop_config=config,
        backend_config=LaneBackendConfig(),
        scaling_config=scaling,
        run_config=run,
    )
