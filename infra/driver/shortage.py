"""What lanes wait for, and which runs wait for what does not come: decided from figures alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from infra.coordinator.placement import Node, RunPlan, free_nodes, worker_capacity
from infra.spec import Resources

MOST_LISTED = 8
PLACE_LIMIT_S = 30.0  # Ray places a run within a second where there is room for it


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProgress:
    """How far a run has come.

    Attributes:
        node: the node that it is bound to; empty where it may stand on several.
        lanes: how many of its lanes are in.
        pending: whether Ray looks for room for it.
        waited_s: how long it has been without any lane.
    """

    name: str
    node: str
    lanes: int
    pending: bool
    waited_s: float


def find_hopeless_runs(
    runs: Sequence[RunProgress], nodes: Sequence[Node], start_s: float, place_s: float = PLACE_LIMIT_S
) -> list[tuple[str, str]]:
    """The runs to end, so that what they were for is planned anew, each with the reason in words.

    Args:
        start_s: `limits.start`. Where no run has a lane it is the sweep's own limit, which ends it.
        place_s: how long Ray may look for room.
    """
    known, works = {node.name for node in nodes}, any(run.lanes for run in runs)
    ended = []
    for run in runs:
        if run.lanes:
            continue
        if run.node and run.node not in known:
            ended.append((run.name, "its node is gone"))
        elif run.pending and run.waited_s > place_s:
            ended.append((run.name, f"Ray found no room for it in {place_s:.0f} s"))
        elif works and run.waited_s > start_s:
            ended.append((run.name, f"no lane of it came up in {start_s:.0f} s (limits.start)"))
    return ended


def describe_shortage(
    shapes: Mapping[str, Resources],
    wanted: Mapping[str, int],
    nodes: Sequence[Node],
    lanes: int | None,
    running: Sequence[RunPlan],
) -> str:
    """What lanes wait for that nothing has room for now: `2 lanes wait for 2 CPU on one node; free: 1 + 1`.

    Args:
        wanted: how many trials each shape still has.
        lanes: how many trials at once over all shapes; None: as many as fit, and then only a shape without
            any lane waits.

    Returns:
        Empty where nothing waits for room.
    """
    room = free_nodes(nodes, running)
    planned = Counter[str]()
    for plan in running:
        planned[plan.shape] += plan.lanes
    left = None if lanes is None else lanes - planned.total()
    for shape, resources in shapes.items():
        most = wanted.get(shape, 0) - planned[shape]
        waiting = min(most, left if left is not None else int(not planned[shape]))
        places = sum(worker_capacity(resources, node) for node in room.values())
        if waiting > 0 and places < resources.workers:
            who = "a lane waits" if waiting == 1 else f"{waiting} lanes wait"
            return f"{who} for {_describe_need(resources, list(room.values()))}"
    return ""


def _describe_need(resources: Resources, nodes: Sequence[Node]) -> str:
    gpus = f", {resources.gpus:g} GPU" if resources.gpus else ""
    each = "on one node" if resources.workers == 1 else f"for each of {resources.workers} workers"
    left = [node for node in nodes if node.cpus > 0.0 or (resources.gpus and node.gpus > 0.0)]
    free = " + ".join(
        f"{max(node.cpus, 0.0):g}" + (f" ({max(node.gpus, 0.0):g} GPU)" if resources.gpus else "")
        for node in left[:MOST_LISTED]
    )
    more = f" + {len(left) - MOST_LISTED} more" if len(left) > MOST_LISTED else ""
    return f"{resources.cpus:g} CPU{gpus} {each}; free: {free or 'nothing'}{more}"
