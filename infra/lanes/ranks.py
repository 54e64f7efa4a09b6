"""One lane of several ranks: a run of its own, whose process group spans exactly that lane.

Apart from `infra.lanes.backend`, which every run's controller imports: torch takes two seconds.
"""

from __future__ import annotations

from collections.abc import Callable

from ray.train.torch import TorchConfig
from ray.train.v2.api.config import RunConfig, ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
from ray.train.v2.torch.torch_trainer import TorchTrainer

from infra.lanes.backend import ClusterLanes, LocalLanes
from infra.lanes.settings import LaneConfig


class ClusterRanks(ClusterLanes, TorchTrainer):
    """Workers of one process group on a cluster that stays."""


class LocalRanks(LocalLanes, TorchTrainer):
    """Workers of one process group on a Ray of our own."""


def make_ranked_trainer(
    function: Callable[[LaneConfig], None],
    config: LaneConfig,
    scaling: ScalingConfig,
    run: RunConfig,
    *,
    own_ray: bool,
) -> DataParallelTrainer:
    """A Ray Train run of one lane of several ranks: its process group spans exactly that lane."""
    backend = TorchConfig(backend="cpu:gloo,cuda:nccl" if scaling.use_gpu else "gloo")
    kind = LocalRanks if own_ray else ClusterRanks
    return kind(
        function, train_loop_config=config, torch_config=backend, scaling_config=scaling, run_config=run
    )
