"""What Velodrome uses of Ray that Ray promises nobody: looked for before a Ray is started for training.

Without it a Ray of another version would fail somewhere else: at an import, or in a run's controller.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence

from infra.errors import ClusterUnavailable

_TRAIN = "ray.train.v2._internal"
SURFACE: Mapping[str, Sequence[str]] = {
    "ray._private.accelerators": ("get_accelerator_manager_for_resource",),
    "ray._private.parameter": ("RayParams",),
    "ray._private.ray_constants": ("DEBUG_AUTOSCALING_STATUS",),
    "ray._private.runtime_env.packaging": ("GCS_STORAGE_MAX_SIZE",),
    "ray._private.services": ("ConsolePopen", "get_node", "start_api_server"),
    "ray._private.state": ("actors", "available_resources_per_node", "state.get_draining_nodes"),
    "ray._private.utils": ("get_num_cpus",),
    "ray._private.worker": ("print_to_stdstream",),
    "ray._raylet": ("AuthenticationTokenLoader.instance", "GcsClient", "PlacementGroupID"),
    "ray.train.backend": ("Backend.has_replica_groups",),
    "ray.train.v2.api.data_parallel_trainer": (
        "DataParallelTrainer._create_default_callbacks",
        "DataParallelTrainer._initialize_and_run_controller",
    ),
    f"{_TRAIN}.callbacks.datasets": ("DatasetsCallback",),
    f"{_TRAIN}.callbacks.placement_group_callback": ("PlacementGroupCleanerCallback",),
    f"{_TRAIN}.execution.callback": ("ControllerCallback.after_controller_start",),
    f"{_TRAIN}.execution.controller.controller": (
        "TrainController._replace_bad_workers",
        "TrainController.worker_group_cls",
    ),
    f"{_TRAIN}.execution.scaling_policy.fixed": ("FixedScalingPolicy._maybe_send_resource_request",),
    f"{_TRAIN}.execution.worker_group": ("DefaultPlacementGroupHandle", "RayTrainWorker.clear_result_queue"),
    f"{_TRAIN}.execution.worker_group.worker_group": (
        "WorkerGroup._create_placement_group",
        "WorkerGroup.replace_replica_group",
    ),
}


def check_ray_surface() -> None:
    """Refuses a Ray that does not have what lanes need.

    Raises:
        ClusterUnavailable: names what the installed Ray lacks.
    """
    import ray

    missing = [name for module, names in SURFACE.items() for name in _missing_names(module, names)]
    if missing:
        raise ClusterUnavailable(
            "lanes need a Ray with the parts that they use of it",
            f"Ray {ray.__version__} without {', '.join(missing)}",
            "install ray==2.60.0",
        )


def _missing_names(module: str, names: Sequence[str]) -> list[str]:
    try:
        found = importlib.import_module(module)
    except ImportError:
        return [module]
    return [f"{module}.{name}" for name in names if not _has_name(found, name)]


def _has_name(found: object, name: str) -> bool:
    for part in name.split("."):
        if not hasattr(found, part):
            return False
        found = getattr(found, part)
    return True
