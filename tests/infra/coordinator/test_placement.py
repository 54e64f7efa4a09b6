"""Which runs a sweep needs: pure decisions."""

from __future__ import annotations

import pytest

from infra.coordinator.placement import (
    Node,
    check_placeable,
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
