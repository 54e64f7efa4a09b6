"""What a cluster can hold is known before anything waits for it."""

from __future__ import annotations

import pytest

from infra.coordinator.placement import Node
from infra.errors import ClusterUnavailable
from infra.serving.deployment import Replicas, check_placeable

NODES = [Node(name="a", cpus=2, gpus=1), Node(name="b", cpus=3, gpus=0)]


@pytest.mark.parametrize(
    "replicas",
    [Replicas(count=5), Replicas(count=2, gpus=0.5), Replicas(count=20, cpus=0.25), Replicas(cpus=3)],
)
def test_what_fits_is_placed(replicas: Replicas) -> None:
    check_placeable(replicas, NODES)


@pytest.mark.parametrize(
    ("replicas", "room"),
    [(Replicas(count=6), 5), (Replicas(count=3, gpus=0.5), 2), (Replicas(cpus=4), 0), (Replicas(gpus=2), 0)],
)
def test_what_never_fits_is_refused_with_figures(replicas: Replicas, room: int) -> None:
    with pytest.raises(ClusterUnavailable, match=f"room for {room} on 5 CPUs and 1 GPUs"):
        check_placeable(replicas, NODES)
