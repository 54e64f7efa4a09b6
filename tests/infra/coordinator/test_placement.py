"""Which runs a sweep needs: pure decisions."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.coordinator.placement import (
    Node,
    check_placeable,
    leave_to_others,
    plan_runs,
    resolve_gpus,
    shape_name,
    worker_capacity,
)
from infra.errors import ClusterUnavailable
from infra.spec import Resources

LAPTOP = (Node(name="a", cpus=2.0),)
CLUSTER = (
    Node(name="a", cpus=8.0, gpus=2.0, accelerators=("H200",)),
    Node(name="b", cpus=8.0, gpus=4.0, accelerators=("L4",), labels={"zone": "x"}),
    Node(name="c", cpus=8.0),
)


@pytest.mark.parametrize(
    ("resources", "nodes", "places"),
    [
        (Resources(gpus=0.0), LAPTOP, [2]),
        (Resources(cpus=0.5, gpus=0.0), LAPTOP, [4]),
        (Resources(gpus=0.5), CLUSTER, [4, 8, 0]),
        (Resources(gpus=1.0, accelerator="L4"), CLUSTER, [0, 4, 0]),
        (Resources(gpus=0.0, labels={"zone": "x"}), CLUSTER, [0, 8, 0]),
    ],
)
def test_node_holds_as_many_workers_as_its_resources_allow(
    resources: Resources, nodes: tuple[Node, ...], places: list[int]
) -> None:
    """By processors, GPUs and their fractions, kinds and labels."""
    assert [worker_capacity(resources, node) for node in nodes] == places


def test_gpus_auto_means_one_where_there_are_some() -> None:
    """And none elsewhere; a number stays."""
    assert resolve_gpus(Resources(), LAPTOP).gpus == 0.0
    assert resolve_gpus(Resources(), CLUSTER).gpus == 1.0
    assert resolve_gpus(Resources(gpus=0.25), CLUSTER).gpus == 0.25


def test_placement_of_oversized_resources_is_refused_with_figures() -> None:
    """Ray would retry for ever."""
    with pytest.raises(ClusterUnavailable, match=r"needs 8 CPU; the cluster has 2 CPU"):
        check_placeable("noop", Resources(workers=8, gpus=0.0), LAPTOP)
    with pytest.raises(ClusterUnavailable, match=r"1 GPU; the cluster has 2 CPU, 0 GPU"):
        check_placeable("noop", Resources(gpus=1.0), LAPTOP)


def test_planned_lanes_fit_the_nodes_and_do_not_exceed_trials() -> None:
    """Eight a run at most, each run on one node."""
    shape = Resources(gpus=0.0)
    runs = plan_runs({"s": shape}, {"s": 100}, (Node(name="a", cpus=20.0),), None)
    assert [run.lanes for run in runs] == [8, 8, 4]
    assert [run.lanes for run in plan_runs({"s": shape}, {"s": 1}, LAPTOP, None)] == [1]
    assert [run.lanes for run in plan_runs({"s": shape}, {"s": 100}, LAPTOP, 1)] == [1]
    assert plan_runs({"s": shape}, {"s": 0}, LAPTOP, None) == []


def test_planned_runs_start_every_shape() -> None:
    """The first shape does not take the whole machine."""
    small, large = Resources(gpus=0.0), Resources(cpus=2.0, gpus=0.0)
    runs = plan_runs({"a": small, "b": large}, {"a": 50, "b": 50}, (Node(name="a", cpus=8.0),), None)
    assert {run.shape for run in runs} == {"a", "b"}


def test_shape_without_room_waits_without_blocking_others() -> None:
    """Half a laptop would stand idle while the first shape's trials are run."""
    small, large = Resources(gpus=0.0), Resources(cpus=2.0, gpus=0.0)
    shapes, wanted = {"a": small, "b": large}, {"a": 50, "b": 50}
    first = plan_runs(shapes, wanted, LAPTOP, None)
    assert [(run.shape, run.lanes) for run in first] == [("a", 2)]
    assert plan_runs({"b": large}, wanted, LAPTOP, None, running=first) == []
    assert [run.shape for run in plan_runs({"b": large}, wanted, LAPTOP, None)] == ["b"]


def test_lane_limit_counts_over_all_shapes() -> None:
    """One lane means one trial at a time, whatever the families need."""
    small, large = Resources(cpus=0.5, gpus=0.0), Resources(gpus=0.0)
    shapes, wanted = {"a": small, "b": large}, {"a": 5, "b": 5}
    first = plan_runs(shapes, wanted, LAPTOP, 1)
    assert [(run.shape, run.lanes) for run in first] == [("a", 1)]
    assert plan_runs({"b": large}, wanted, LAPTOP, 1, running=first) == []
    assert sum(run.lanes for run in plan_runs(shapes, wanted, CLUSTER, 5)) == 5


def test_lane_of_several_workers_is_planned_as_its_own_run() -> None:
    """As many such lanes as the cluster holds."""
    pair = Resources(workers=2, gpus=1.0)
    runs = plan_runs({"p": pair}, {"p": 10}, CLUSTER, None)
    assert [(run.lanes, run.resources.workers) for run in runs] == [(1, 2)] * 3


@given(
    nodes=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=6),
    cpus=st.sampled_from([0.5, 1.0, 2.0, 3.0]),
    gpus=st.sampled_from([0.0, 0.5, 1.0]),
    held=st.lists(st.integers(0, 9), min_size=6, max_size=6),
)
def test_planned_lanes_are_the_most_that_fit_beside_strangers(
    nodes: list[tuple[int, int]], cpus: float, gpus: float, held: list[int]
) -> None:
    """Whatever the nodes' sizes, their order, and what others hold of them."""
    cluster = [
        Node(
            name=f"n{at}", cpus=float(has), gpus=float(gpu), free_cpus=float(max(0, has - held[at])),
            free_gpus=float(gpu),
        )
        for at, (has, gpu) in enumerate(nodes)
    ]  # fmt: skip
    shape, wanted = Resources(cpus=cpus, gpus=gpus), {"s": 1000}
    room = leave_to_others(cluster, (), (), settled=True)
    runs = plan_runs({"s": shape}, wanted, room, None)
    most = {
        node.name: min(int((node.free_cpus or 0) // cpus), int(node.gpus // gpus) if gpus else 1000)
        for node in cluster
    }
    lanes = Counter[str]()
    for run in runs:
        lanes[run.node] += run.lanes
    assert lanes == Counter({name: count for name, count in most.items() if count})
    coming = leave_to_others(cluster, runs, room, settled=False)  # none of them holds anything yet
    assert plan_runs({"s": shape}, wanted, coming, None, running=runs) == []
    placed = [
        replace(
            node,
            free_cpus=(node.free_cpus or 0) - lanes[node.name] * cpus,
            free_gpus=node.gpus - lanes[node.name] * gpus,
        )
        for node in cluster
    ]
    room = leave_to_others(placed, runs, coming, settled=True)
    assert plan_runs({"s": shape}, wanted, room, None, running=runs) == []
    alone = [replace(node, free_cpus=(node.free_cpus or 0) + held[at]) for at, node in enumerate(placed)]
    alone = [replace(node, free_cpus=min(node.free_cpus or 0, node.cpus)) for node in alone]
    room = leave_to_others(alone, runs, room, settled=True)  # the strangers have left
    more = plan_runs({"s": shape}, wanted, room, None, running=runs)
    whole = plan_runs({"s": shape}, wanted, cluster, None)
    assert sum(run.lanes for run in more) + sum(lanes.values()) <= sum(run.lanes for run in whole)
    for node in alone:
        here = sum(run.lanes for run in (*runs, *more) if run.node == node.name)
        assert here * cpus <= node.cpus + 1e-9


def test_run_of_a_node_that_is_gone_takes_no_room_of_others() -> None:
    nodes = (Node(name="a", cpus=2.0), Node(name="b", cpus=2.0))
    shape = Resources(gpus=0.0)
    runs = plan_runs({"s": shape}, {"s": 9}, nodes, None)
    assert [(run.node, run.lanes) for run in runs] == [("a", 2), ("b", 2)]
    again = plan_runs({"s": shape}, {"s": 9}, (nodes[0], Node(name="c", cpus=1.0)), None, running=runs)
    assert [(run.node, run.lanes) for run in again] == [("c", 1)]


def test_shape_differs_where_resource_needs_differ() -> None:
    """Families of the same needs share lanes."""
    assert shape_name(Resources(gpus=0.0)) == shape_name(Resources(gpus=None))
    kinds = [
        Resources(),
        Resources(cpus=2.0),
        Resources(gpus=0.5),
        Resources(workers=2),
        Resources(labels={"a": "b"}),
    ]
    assert len({shape_name(resources) for resources in kinds}) == len(kinds)
