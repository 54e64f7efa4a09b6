"""Which Ray Train runs a sweep needs: pure decisions from what trials ask for and what a cluster has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from infra.errors import ClusterUnavailable
from infra.gpus.deciding import GpuRoom
from infra.spec import Resources, SweepSpec

LANES_A_RUN = 8
MANY = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """What one node of the cluster has in all.

    Attributes:
        free_cpus, free_gpus: what nobody holds now; None where that is not known, as of a Ray of our own.
    """

    name: str
    cpus: float
    host: str = ""
    gpus: float = 0.0
    memory_bytes: int = 0
    accelerators: tuple[str, ...] = ()
    labels: Mapping[str, str] | None = None
    free_cpus: float | None = None
    free_gpus: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPlan:
    """One Ray Train run: `lanes` independent workers, or one lane of `resources.workers` ranks.

    Attributes:
        node: the one that independent workers were planned for; empty for ranks, which may stand on several.
    """

    shape: str
    resources: Resources
    lanes: int
    node: str = ""


def resolve_gpus(resources: Resources, nodes: Sequence[Node]) -> Resources:
    """`gpus: auto` as a number: one where the cluster has GPUs, else none."""
    if resources.gpus is not None:
        return resources
    return replace(resources, gpus=1.0 if any(node.gpus >= 1 for node in nodes) else 0.0)


def shape_name(resources: Resources) -> str:
    """A name that families with the same needs share."""
    parts = [f"{resources.workers}x{resources.cpus:g}cpu"]
    if resources.gpus:
        parts.append(f"{resources.gpus:g}gpu")
    if resources.memory_bytes:
        parts.append(f"{resources.memory_bytes}b")
    if resources.accelerator:
        parts.append(resources.accelerator)
    parts += [f"{key}={value}" for key, value in sorted(resources.labels.items())]
    if resources.fresh_process:
        parts.append("fresh")
    return "-".join(parts)


def resolve_shapes(spec: SweepSpec, nodes: Sequence[Node]) -> dict[str, Resources]:
    """Each family's settled resources."""
    return {family.name: resolve_gpus(family.resources, nodes) for family in spec.families}


def gpu_rooms(spec: SweepSpec, nodes: Sequence[Node]) -> dict[str, GpuRoom]:
    """What the cluster has for families whose lanes may come to share GPUs: the file says `gpus: auto`, and
    there are some. Ranks of one lane share none."""
    found = {}
    for family in spec.families:
        resources = resolve_gpus(family.resources, nodes)
        if family.resources.gpus is None and resources.gpus and resources.workers == 1:
            beside = replace(resources, gpus=0.0)
            places = [
                (int(node.gpus), worker_capacity(beside, node))
                for node in nodes
                if worker_capacity(resources, node)
            ]
            gpus = sum(count for count, _ in places)
            most = min((lanes // count for count, lanes in places), default=1)
            if spec.lanes is not None:
                most = min(most, spec.lanes // max(1, gpus))
            found[family.name] = GpuRoom(gpus=gpus, lanes=max(1, most))
    return found


def worker_capacity(resources: Resources, node: Node) -> int:
    """How many workers of that shape one empty node can hold."""
    if resources.accelerator and resources.accelerator not in node.accelerators:
        return 0
    labels = node.labels or {}
    if any(labels.get(key) != value for key, value in resources.labels.items()):
        return 0
    counts = [math.floor(have / need + 1e-9) for have, need in _node_needs(resources, node) if need > 0]
    return min(counts, default=LANES_A_RUN)


def _node_needs(resources: Resources, node: Node) -> list[tuple[float, float]]:
    gpus = resources.gpus or 0.0
    return [
        (node.cpus, resources.cpus),
        (node.gpus, gpus),
        (float(node.memory_bytes), float(resources.memory_bytes or 0)),
    ]


def check_placeable(family: str, resources: Resources, nodes: Sequence[Node]) -> None:
    """Refuses what the cluster can never place; Ray would retry for ever.

    Raises:
        ClusterUnavailable: with what one lane needs and what there is.
    """
    places = sum(worker_capacity(resources, node) for node in nodes)
    if places >= resources.workers:
        return
    need = f"{resources.workers * resources.cpus:g} CPU"
    if resources.gpus:
        need += f", {resources.workers * resources.gpus:g} GPU"
    if resources.memory_bytes:
        need += f", {resources.memory_bytes / 2**30:.1f} GiB a worker"
    if resources.accelerator or resources.labels:
        need += f" on {resources.accelerator or ''} {dict(resources.labels) or ''}".rstrip()
    has = f"{sum(n.cpus for n in nodes):g} CPU, {sum(n.gpus for n in nodes):g} GPU on {len(nodes)} node(s)"
    raise ClusterUnavailable(
        f"the cluster must have room for one lane of {family}",
        f"a lane needs {need}; the cluster has {has}",
        "lower resources.workers, cpus or gpus, or add nodes",
    )


def plan_runs(
    shapes: Mapping[str, Resources],
    wanted: Mapping[str, int],
    nodes: Sequence[Node],
    lanes: int | None,
    *,
    running: Sequence[RunPlan] = (),
    most_a_run: int = LANES_A_RUN,
    run_sizes: Mapping[str, int] | None = None,
) -> list[RunPlan]:
    """The runs to start.

    Args:
        shapes: resources by shape.
        wanted: how many trials each shape still has; no more lanes than that are made.
        nodes: the cluster's.
        lanes: how many trials at once over all shapes; None: as many as fit.
        running: runs that there are; they keep what they hold.
        most_a_run: how many lanes a run has at most.
        run_sizes: of shapes whose lanes share a GPU, how many have one: a run is as large, where there is
            room, also for fewer trials. Ray puts parts of a GPU where they fit: on GPUs that are full or
            empty a run has one of its own, and where it ends a whole one is free.

    Returns:
        Runs of independent lanes on one node, and one run for each lane of several workers.
        A shape that finds no room now is left for later.
    """
    room = free_nodes(nodes, running)
    left = math.inf if lanes is None else lanes - sum(plan.lanes for plan in running)
    active = [shape for shape in shapes if wanted.get(shape, 0) > 0]
    sizes = {shape: min(most_a_run, (run_sizes or {}).get(shape, most_a_run)) for shape in active}
    whole = {shape: (run_sizes or {}).get(shape, 1) for shape in active}
    needs = [(shape, shapes[shape], _round_up(wanted[shape], whole[shape])) for shape in active]
    plans = _share_lanes(needs, room, left, sizes, whole)
    placed = {plan.shape for plan in plans}
    if plans and len(placed) < len(active):  # what was held back for the others would stand idle
        plans = _share_lanes([need for need in needs if need[0] in placed], room, left, sizes, whole)
    return plans


def _round_up(count: int, step: int) -> int:
    return math.ceil(count / step) * step


def leave_to_others(
    nodes: Sequence[Node], running: Sequence[RunPlan], before: Sequence[Node], *, settled: bool
) -> list[Node]:
    """The nodes without what others hold of them: what is not free, and not of the running plans.

    While lanes are coming up what they will hold is still free: until then a node is left no larger than it
    was `before`.

    Args:
        before: what this gave the last time.
        settled: whether all lanes of the running plans are up.
    """
    former = {node.name: node for node in before}
    left = []
    for node in nodes:
        cpus, gpus = node.cpus, node.gpus
        if node.free_cpus is not None and node.free_gpus is not None:
            ours = [plan for plan in running if plan.node == node.name]
            cpus = min(cpus, node.free_cpus + sum(p.lanes * p.resources.cpus for p in ours))
            gpus = min(gpus, node.free_gpus + sum(p.lanes * (p.resources.gpus or 0.0) for p in ours))
        if not settled and node.name in former:
            cpus, gpus = min(cpus, former[node.name].cpus), min(gpus, former[node.name].gpus)
        left.append(replace(node, cpus=cpus, gpus=gpus))
    return left


def _share_lanes(
    needs: Sequence[tuple[str, Resources, int]],
    nodes: Mapping[str, Node],
    left: float,
    run_sizes: Mapping[str, int],
    whole: Mapping[str, int],
) -> list[RunPlan]:
    room, plans = dict(nodes), list[RunPlan]()
    for position, (shape, resources, wanted) in enumerate(needs):
        others = len(needs) - position - 1
        count = wanted if left == math.inf else min(math.ceil(left / (others + 1)), wanted)
        if resources.workers > 1:
            made = _ranked_runs(shape, resources, room, count)
        else:
            made = _independent_runs(shape, resources, room, count, others, run_sizes[shape], whole[shape])
        plans += made
        left -= sum(plan.lanes for plan in made)
    return plans


def free_nodes(nodes: Sequence[Node], running: Sequence[RunPlan]) -> dict[str, Node]:
    """What the running plans leave of each node: ranks as if they were placed in the nodes' order. A plan for
    a node that is gone holds nothing."""
    room = {node.name: node for node in nodes}
    for plan in running:
        if plan.node:
            if plan.node in room:
                room[plan.node] = _subtract_workers(room[plan.node], plan.resources, plan.lanes)
            continue
        missing = plan.lanes * plan.resources.workers
        for name, node in list(room.items()):
            taken = min(missing, worker_capacity(plan.resources, node))
            room[name] = _subtract_workers(node, plan.resources, taken)
            missing -= taken
    return room


def _independent_runs(
    shape: str,
    resources: Resources,
    room: dict[str, Node],
    count: int,
    reserve: int,
    most_a_run: int,
    whole: int,
) -> list[RunPlan]:
    plans: list[RunPlan] = []
    for name, node in list(room.items()):
        here = min(worker_capacity(resources, node), count)
        if reserve and here:
            here = min(here, _round_up(max(1, here // (reserve + 1)), whole))  # others are to begin too
        while here > 0:
            size = min(here, most_a_run)
            plans.append(RunPlan(shape=shape, resources=resources, lanes=size, node=name))
            room[name] = node = _subtract_workers(node, resources, size)
            here, count = here - size, count - size
    return plans


def _ranked_runs(shape: str, resources: Resources, room: dict[str, Node], count: int) -> list[RunPlan]:
    plans: list[RunPlan] = []
    while (
        len(plans) < count
        and sum(worker_capacity(resources, node) for node in room.values()) >= resources.workers
    ):
        missing = resources.workers
        for name, node in list(room.items()):
            taken = min(missing, worker_capacity(resources, node))
            room[name] = _subtract_workers(node, resources, taken)
            missing -= taken
        plans.append(RunPlan(shape=shape, resources=resources, lanes=1))
    return plans


def _subtract_workers(node: Node, resources: Resources, workers: int) -> Node:
    return replace(
        node,
        cpus=node.cpus - workers * resources.cpus,
        gpus=node.gpus - workers * (resources.gpus or 0.0),
        memory_bytes=node.memory_bytes - workers * (resources.memory_bytes or 0),
    )
