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
from dataclasses import dataclass
from typing import Protocol, TypeAlias, cast

from infra.coordinator.placement import Node, RunPlan
from infra.spec import Resources

WorkerNeeds: TypeAlias = dict[str, float]  # by the names that Ray gives resources
EXPIRES_S = 60.0  # after which the demand of a driver that died is gone
JUDGED_AFTER_S = 8.0  # Ray's second autoscaler looks at demands every five seconds
FORGET_S = 300.0  # after which a demand that was refused is tried again: others leave, limits are raised
STATUS_LIMIT_S = 10
# What Ray's monitor calls the nodes of a cluster that somebody else made: each its own kind.
_FIXED_NODE = re.compile(r"node_[0-9a-f]+")
_log = logging.getLogger(__name__)


class DemandChannel(Protocol):
    """Ray's own collector of demands (`DefaultAutoscalingCoordinator`)."""

    def request_resources(self, resources: list[WorkerNeeds], expire_after_s: float) -> None:
        """Replaces what this requester asks for."""

    def cancel_request(self) -> None:
        """Asks for nothing any more."""


@dataclass(slots=True)
class DemandLimit:
    """How many workers a cluster can have in all, as answers to former demands tell it.

    Ray's second autoscaler brings nothing of a demand that it cannot meet whole. After a refusal the demand
    therefore begins again from what was accepted, doubles, and near the refused one lies half-way to it.
    """

    accepted: int = 0
    refused: int | None = None

    def allow(self, held: int, missing: int) -> int:
        """How many of the missing workers to ask for beside those that are held."""
        if self.refused is None or held + missing < self.refused:
            return missing
        floor = max(self.accepted, held)
        total = 2 * floor or 1
        if total >= self.refused:
            total = (floor + self.refused) // 2
        return min(missing, max(0, total - held))

    def learn(self, total: int, *, refused: bool) -> None:
        """Takes in what became of a demand of so many."""
        if refused:
            self.refused, self.accepted = total, min(self.accepted, total - 1)
            return
        self.accepted = max(self.accepted, total)
        if self.refused is not None and self.refused <= total:
            self.refused = None


class ClusterGrowth:
    """What one sweep asks an autoscaler for."""

    def __init__(
        self,
        channel: DemandChannel,
        steady: Callable[[], float] = time.monotonic,
        is_refused: Callable[[], bool | None] = lambda: False,
    ) -> None:
        """Nothing is asked for yet.

        Args:
            is_refused: whether the autoscaler says that it cannot bring what all ask for; None: not known.
        """
        self._channel, self._steady, self._is_refused = channel, steady, is_refused
        self._demand: list[WorkerNeeds] = []
        self._more = 0
        self._told_at = self._changed_at = self._refused_at = 0.0
        self._limit = DemandLimit()

    @property
    def words(self) -> str:
        """What is asked for, to go on after what lanes wait for; empty where nothing is."""
        if self._more:
            return f"the autoscaler is asked for {self._more} worker{'s' if self._more > 1 else ''} more"
        return "the autoscaler brings no more" if self._limit.refused is not None else ""

    def ask(self, missing: Sequence[WorkerNeeds], held: Sequence[WorkerNeeds] = ()) -> None:
        """Asks for the missing beside what is held; again before it expires.

        An autoscaler compares a demand with all that its nodes have, not with what is free of them.
        """
        now = self._steady()
        self._learn(now)
        more = self._limit.allow(len(held), len(missing))
        demand = [*held, *missing[:more]] if more else []
        if more != self._more:
            _log.info("the autoscaler is asked for %d worker(s) beside %d", more, len(held))
        changed = demand != self._demand
        self._more = more
        if not changed and (not demand or now - self._told_at < EXPIRES_S / 2):
            return
        self._demand, self._told_at = demand, now
        if changed:
            self._changed_at = now
        if demand:
            self._channel.request_resources(demand, EXPIRES_S)
        else:
            self._channel.cancel_request()

    def _learn(self, now: float) -> None:
        if self._limit.refused is not None and now - self._refused_at >= FORGET_S:
            self._limit = DemandLimit()
        if not self._demand or now - self._changed_at < JUDGED_AFTER_S:
            return
        refused = self._is_refused()
        if refused:
            self._refused_at = now
        if refused is not None:
            self._limit.learn(len(self._demand), refused=refused)

    def close(self) -> None:
        """Asks for nothing any more."""
        if self._demand:
            self._channel.cancel_request()
        self._demand, self._more, self._limit = [], 0, DemandLimit()


def find_growth() -> ClusterGrowth | None:
    """Who can ask the connected cluster for more; None where nobody would bring it."""
    if not has_autoscaler():
        return None
    from ray.data._internal.cluster_autoscaler import default_autoscaling_coordinator as asking

    channel = asking.DefaultAutoscalingCoordinator(f"velodrome-{uuid.uuid4().hex}")
    return ClusterGrowth(cast("DemandChannel", channel), is_refused=is_demand_refused)


def is_demand_refused() -> bool | None:
    """Whether Ray's second autoscaler cannot bring what the connected cluster asks for; None: it does not
    answer. The first brings what it can."""
    import ray
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled
    from ray.autoscaler.v2.utils import is_autoscaler_v2
    from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply  # type: ignore[attr-defined]

    if not is_autoscaler_v2():
        return False
    reply = GetClusterStatusReply()
    client = GcsClient(ray.get_runtime_context().gcs_address)
    try:
        reply.ParseFromString(client.get_cluster_status(timeout_s=STATUS_LIMIT_S))
    except ray.exceptions.RpcError:
        return None
    asked = list(reply.cluster_resource_state.cluster_resource_constraints)
    return bool(asked) and asked == list(reply.autoscaling_state.infeasible_cluster_resource_constraints)


def missing_workers(
    shapes: Mapping[str, Resources], wanted: Mapping[str, int], limit: int | None, running: Sequence[RunPlan]
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


def held_workers(
    running: Sequence[RunPlan], nodes: Sequence[Node], room: Sequence[Node]
) -> list[WorkerNeeds]:
    """What the workers of the planned lanes hold, and what strangers do of each node.

    Args:
        room: what strangers leave of the nodes.
    """
    own = [_bundle(plan.resources) for plan in running for _ in range(plan.lanes * plan.resources.workers)]
    left = {node.name: node for node in room}
    strangers = [
        {"CPU": node.cpus - left[node.name].cpus, "GPU": node.gpus - left[node.name].gpus}
        for node in nodes
        if node.name in left
    ]
    kept = ({name: amount for name, amount in needs.items() if amount > 0} for needs in strangers)
    return [*own, *filter(None, kept)]


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
