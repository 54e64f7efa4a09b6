"""A cluster that grows by demand: whether this one does, and asking it for what lanes wait for.

Ray Train asks for what its runs hold, and runs are planned on nodes that are there: of what is missing nobody
else tells an autoscaler.
"""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Protocol, TypeAlias, cast

from infra.coordinator.placement import RunPlan
from infra.spec import Resources

WorkerNeeds: TypeAlias = dict[str, float]  # by the names that Ray gives resources
EXPIRES_S = 60.0  # after which the demand of a driver that died is gone
# What Ray's monitor calls the nodes of a cluster that somebody else made: each its own kind.
_FIXED_NODE = re.compile(r"node_[0-9a-f]+")
_log = logging.getLogger(__name__)


class DemandChannel(Protocol):
    """Ray's own collector of demands (`DefaultAutoscalingCoordinator`)."""

    def request_resources(self, resources: list[WorkerNeeds], expire_after_s: float) -> None:
        """Replaces what this requester asks for."""

    def cancel_request(self) -> None:
        """Asks for nothing any more."""


class ClusterGrowth:
    """What one sweep asks an autoscaler for."""

    def __init__(self, channel: DemandChannel, steady: Callable[[], float] = time.monotonic) -> None:
        """Nothing is asked for yet."""
        self._channel, self._steady = channel, steady
        self._asked: list[WorkerNeeds] = []
        self._asked_at = 0.0

    @property
    def words(self) -> str:
        """What is asked for, to go on after what lanes wait for; empty where nothing is."""
        count = len(self._asked)
        return f"the autoscaler is asked for {count} worker{'s' if count > 1 else ''} more" if count else ""

    def ask(self, bundles: list[WorkerNeeds]) -> None:
        """Asks for this beside what there is; again before it expires."""
        now = self._steady()
        if bundles == self._asked and (not bundles or now - self._asked_at < EXPIRES_S / 2):
            return
        if bundles != self._asked:
            _log.info("the autoscaler is asked for %d worker(s)", len(bundles))
        self._asked, self._asked_at = bundles, now
        if bundles:
            self._channel.request_resources(bundles, EXPIRES_S)
        else:
            self._channel.cancel_request()

    def close(self) -> None:
        """Asks for nothing any more."""
        self.ask([])


def find_growth() -> ClusterGrowth | None:
    """Who can ask the connected cluster for more; None where nobody would bring it."""
    if not has_autoscaler():
        return None
    from ray.data._internal.cluster_autoscaler import default_autoscaling_coordinator as asking

    name = f"velodrome-{uuid.uuid4().hex}"
    return ClusterGrowth(cast("DemandChannel", asking.DefaultAutoscalingCoordinator(name)))


def missing_workers(
    shapes: Mapping[str, Resources],
    wanted: Mapping[str, int],
    limit: int | None,
    running: Sequence[RunPlan],
) -> list[WorkerNeeds]:
    """What the workers of those lanes need that are not planned yet, one entry a worker.

    Args:
        wanted: how many trials each shape still has.
        limit: how many lanes at most over all shapes; None: as many as there are trials.
    """
    planned = Counter[str]()
    for plan in running:
        planned[plan.shape] += plan.lanes
    left = None if limit is None else max(0, limit - planned.total())
    bundles: list[WorkerNeeds] = []
    for shape, resources in shapes.items():
        lanes = max(0, wanted.get(shape, 0) - planned[shape])
        if left is not None:
            lanes = min(lanes, left)
            left -= lanes
        bundles += [_bundle(resources)] * (lanes * resources.workers)
    return bundles


def _bundle(resources: Resources) -> WorkerNeeds:
    needs = {
        "CPU": resources.cpus,
        "GPU": resources.gpus or 0.0,
        "memory": float(resources.memory_bytes or 0),
        f"accelerator_type:{resources.accelerator}": 0.001 if resources.accelerator else 0.0,
    }
    return {name: amount for name, amount in needs.items() if amount}


def is_grown_by_demand(kinds: Collection[str]) -> bool:
    """Whether nodes of these kinds, as the cluster's monitor names them, come from an autoscaler."""
    return any(not _FIXED_NODE.fullmatch(kind) for kind in kinds)


def has_autoscaler() -> bool:
    """Whether the connected cluster grows by demand. A cluster whose monitor says nothing has none."""
    import ray
    from ray.autoscaler.v2.utils import is_autoscaler_v2

    address: str = ray.get_runtime_context().gcs_address
    if is_autoscaler_v2():
        return is_grown_by_demand(_kinds_of_second(address))
    return is_grown_by_demand(_kinds_of_first())


def _kinds_of_second(address: str) -> set[str]:
    from ray.autoscaler.v2.sdk import get_cluster_status

    status = get_cluster_status(address)
    nodes = (*status.active_nodes, *status.idle_nodes)
    return {node.ray_node_type_name for node in nodes if node.ray_node_type_name}


def _kinds_of_first() -> set[str]:
    from ray._private.ray_constants import DEBUG_AUTOSCALING_STATUS
    from ray.experimental.internal_kv import _internal_kv_get

    return kinds_in_report(_internal_kv_get(DEBUG_AUTOSCALING_STATUS))


def kinds_in_report(report: bytes | None) -> set[str]:
    """The kinds of nodes in what Ray's first autoscaler says of itself."""
    try:
        found = json.loads(report or b"{}")
        return set((found.get("autoscaler_report") or {}).get("active_nodes") or {})
    except (ValueError, AttributeError):
        return set()
