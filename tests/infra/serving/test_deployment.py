"""What a cluster can hold is known before anything waits for it."""

from __future__ import annotations

import pytest

from infra.coordinator.placement import Node
from infra.errors import ClusterUnavailable
from infra.serving.deployment import ReplicaSettings, check_replicas_placeable

NODES = [Node(name="a", cpus=2, gpus=1), Node(name="b", cpus=3, gpus=0)]


@pytest.mark.parametrize(
    "replicas",
    [
        ReplicaSettings(count=5),
        ReplicaSettings(count=2, gpus=0.5),
        ReplicaSettings(count=20, cpus=0.25),
        ReplicaSettings(cpus=3),
    ],
)
def test_replicas_that_fit_are_placeable(replicas: ReplicaSettings) -> None:
    check_replicas_placeable(replicas, NODES)


@pytest.mark.parametrize(
    ("replicas", "room"),
    [
        (ReplicaSettings(count=6), 5),
        (ReplicaSettings(count=3, gpus=0.5), 2),
        (ReplicaSettings(cpus=4), 0),
        (ReplicaSettings(gpus=2), 0),
    ],
)
def test_replicas_that_never_fit_are_refused_with_figures(replicas: ReplicaSettings, room: int) -> None:
    with pytest.raises(ClusterUnavailable, match=f"room for {room} on 5 CPUs and 1 GPUs"):
        check_replicas_placeable(replicas, NODES)
