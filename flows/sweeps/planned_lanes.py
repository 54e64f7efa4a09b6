"""On which nodes a sweep would run, and how many lanes it would have there at first."""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flows.sweeps.shared_places import check_shared_places
from infra.home import Home
from infra.ray_job import job_address
from infra.spec import SweepSpec

if TYPE_CHECKING:
    from infra.coordinator.placement import Node
    from infra.spec import Resources
    from trainers.types import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedLanes:
    """Lanes as they would be.

    Attributes:
        grows: whether the cluster grows by demand.
        lanes: trials at once.
        resources: each family's.
        gpu_words: of families with `gpus: auto` on GPUs, how many lanes share one, and why.
    """

    nodes: tuple[Node, ...]
    grows: bool
    lanes: int
    resources: Mapping[str, Resources]
    gpu_words: Mapping[str, str]

    @property
    def cpus(self) -> float:
        """All that there are."""
        return sum(node.cpus for node in self.nodes)

    @property
    def gpus(self) -> float:
        """All that there are."""
        return sum(node.gpus for node in self.nodes)

    @property
    def gpus_used(self) -> float:
        """At most, with all lanes at work."""
        return min(self.gpus, self.lanes * max(needed.gpus or 0.0 for needed in self.resources.values()))


def place_lanes(
    spec: SweepSpec, address: str | None, home: Home, facts: Document, left: Mapping[str, int]
) -> PlannedLanes:
    """Where lanes would be at first, and each family's settled resources.

    Args:
        address: an existing Ray cluster; without it what a local one would have.
        facts: of the sweep, where the ledger has it.
        left: by family, how many trials there are to run.
    """
    from infra.coordinator.placement import check_placeable, gpu_rooms, resolve_shapes
    from infra.gpus.sharing import GpuSharing

    nodes, grows = _find_nodes(spec, address, home)
    sharing = GpuSharing(
        resolve_shapes(spec, nodes), gpu_rooms(spec, nodes), facts, lambda **_: None, left.__getitem__,
        same_driver=False,
    )  # fmt: skip
    for family, needed in sharing.resources.items() if not grows else ():
        check_placeable(family, needed, nodes)
    lanes = _count_lanes(spec, sharing.resources, nodes)
    return PlannedLanes(
        nodes=nodes, grows=grows, lanes=lanes, resources=sharing.resources, gpu_words=sharing.words
    )


def _count_lanes(spec: SweepSpec, resources: Mapping[str, Resources], nodes: Sequence[Node]) -> int:
    from infra.coordinator.placement import plan_runs, shape_name

    wanted: Counter[str] = Counter()
    for entry in spec.families:
        wanted[shape_name(resources[entry.name])] += entry.trials
    shapes = {shape_name(needed): needed for needed in resources.values()}
    return max(1, sum(run.lanes for run in plan_runs(shapes, wanted, nodes, spec.lanes)))


def _find_nodes(spec: SweepSpec, address: str | None, home: Home) -> tuple[tuple[Node, ...], bool]:
    """The cluster's nodes, which reach what the sweep shares, and whether it grows by demand; without an
    address this machine, as a local Ray would see it."""
    from infra.driver.cluster import connect_ray, has_own_connection
    from infra.sharing.growth import has_autoscaler

    address = address or job_address()
    if address is not None or has_own_connection():
        with connect_ray(address, home) as nodes:
            check_shared_places(spec, home, nodes)
            return tuple(nodes), has_autoscaler()
    return (this_machine(),), False


def this_machine() -> Node:
    """What a local Ray would have."""
    import psutil
    import torch

    from infra.coordinator.placement import Node

    return Node(
        name="local",
        host=socket.gethostname(),
        cpus=float(len(os.sched_getaffinity(0))),
        gpus=float(torch.cuda.device_count()),
        memory_bytes=int(psutil.virtual_memory().available * 0.7),
    )
