"""Which runs a sweep needs: pure decisions."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.coordinator.placement import (
    Node,
    RunPlan,
    check_placeable,
    free_nodes,
    gpu_rooms,
    leave_to_others,
    plan_runs,
    resolve_gpus,
    resolve_shapes,
    shape_name,
    worker_capacity,
)
from infra.errors import ClusterUnavailable
from infra.gpus.deciding import GpuRoom
from infra.spec import Resources
from tests.infra.conftest import family, sweep

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


@pytest.mark.parametrize(("most", "gpus"), [(0.0, 0.0), (0.5, 0.0), (1.0, 1.0), (4.0, 1.0)])
def test_gpus_auto_needs_a_whole_one_on_a_node(most: float, gpus: float) -> None:
    nodes = (Node(name="a", cpus=1.0), Node(name="b", cpus=1.0, gpus=most))
    assert resolve_gpus(Resources(), nodes).gpus == gpus
    spec = sweep(family("one"), family("two", resources=Resources(gpus=0.5)))
    assert {name: r.gpus for name, r in resolve_shapes(spec, nodes).items()} == {"one": gpus, "two": 0.5}


def test_shape_names_all_that_is_asked_for() -> None:
    whole = Resources(
        workers=2, cpus=0.5, gpus=1.0, memory_bytes=1024, accelerator="L4", labels={"z": "1", "a": "2"},
        fresh_process=True,
    )  # fmt: skip
    assert shape_name(whole) == "2x0.5cpu-1gpu-1024b-L4-a=2-z=1-fresh"
    assert shape_name(Resources(gpus=0.0)) == "1x1cpu"


@pytest.mark.parametrize(
    ("resources", "node", "places"),
    [
        (Resources(cpus=0.1, gpus=0.0), Node(name="a", cpus=0.3), 3),  # though 0.3 / 0.1 is less, in floats
        (Resources(cpus=2.0, gpus=0.0), Node(name="a", cpus=3.9), 1),
        (Resources(cpus=2.0, gpus=0.0), Node(name="a", cpus=1.9), 0),
        (Resources(gpus=0.0, memory_bytes=3), Node(name="a", cpus=9.0, memory_bytes=7), 2),
        (Resources(gpus=None, memory_bytes=None), Node(name="a", cpus=9.0), 9),
        (Resources(cpus=0.0, gpus=0.0), Node(name="a", cpus=9.0), 8),  # of what takes nothing: as a run has
        (Resources(gpus=0.0, labels={"a": "b", "c": "d"}), Node(name="a", cpus=9.0, labels={"a": "b"}), 0),
        (Resources(gpus=0.0, labels={"a": "b"}), Node(name="a", cpus=9.0, labels={"a": "b", "c": "d"}), 9),
    ],
)
def test_node_holds_workers_by_its_scarcest_resource(resources: Resources, node: Node, places: int) -> None:
    assert worker_capacity(resources, node) == places


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        (Resources(workers=3, cpus=2.0, gpus=0.0), "a lane needs 6 CPU; the cluster"),
        (Resources(workers=3, cpus=0.5, gpus=2.0), "a lane needs 1.5 CPU, 6 GPU; the cluster"),
        (Resources(gpus=0.0, memory_bytes=3 * 2**29), "a lane needs 1 CPU, 1.5 GiB a worker; the cluster"),
        (Resources(gpus=0.0, accelerator="L4"), "a lane needs 1 CPU on L4; the cluster"),
        (Resources(gpus=0.0, labels={"a": "b"}), r"a lane needs 1 CPU on  \{'a': 'b'\}; the cluster"),
    ],
)
def test_refusal_says_what_one_lane_needs_and_what_there_is(resources: Resources, words: str) -> None:
    nodes = (Node(name="a", cpus=1.0, gpus=1.0), Node(name="b", cpus=1.0))
    with pytest.raises(ClusterUnavailable, match=f"{words}.*2 CPU, 1 GPU on 2 node"):
        check_placeable("noop", resources, nodes)
    check_placeable("noop", Resources(workers=2, gpus=0.0), nodes)  # just fits


def lanes_of(runs: list[RunPlan]) -> list[tuple[str, int]]:
    return [(run.shape, run.lanes) for run in runs]


ONE, TWO = Resources(gpus=0.0), Resources(cpus=2.0, gpus=0.0)


@pytest.mark.parametrize(
    ("shapes", "cpus", "planned"),
    [
        ({"a": ONE}, 8.0, [("a", 8)]),
        ({"a": ONE, "b": TWO}, 8.0, [("a", 4), ("b", 2)]),
        ({"a": ONE, "b": ONE, "c": ONE}, 9.0, [("a", 3), ("b", 3), ("c", 3)]),
        ({"a": ONE, "b": ONE}, 2.0, [("a", 1), ("b", 1)]),
        ({"a": ONE, "b": ONE}, 3.0, [("a", 1), ("b", 2)]),
        ({"a": ONE, "b": ONE, "c": ONE}, 2.0, [("a", 1), ("b", 1)]),
        ({"a": TWO, "b": ONE}, 2.0, [("a", 1)]),
        ({"a": ONE, "b": Resources(cpus=4.0, gpus=0.0)}, 3.0, [("a", 3)]),  # nothing is held back for b
    ],
)
def test_shapes_share_a_node_from_the_beginning(
    shapes: dict[str, Resources], cpus: float, planned: list[tuple[str, int]]
) -> None:
    wanted = {**dict.fromkeys(shapes, 50), "over": 0}
    all_shapes = {"never": ONE, **shapes, "over": ONE}
    runs = plan_runs(all_shapes, wanted, (Node(name="n", cpus=cpus),), None)
    assert lanes_of(runs) == planned


def test_lanes_that_a_sweep_is_limited_to_count_those_that_it_has() -> None:
    nodes = (Node(name="n", cpus=20.0), Node(name="m", cpus=20.0))
    running = [RunPlan(shape="a", resources=ONE, lanes=2, node="n")]
    assert lanes_of(plan_runs({"a": ONE}, {"a": 50}, nodes, 5, running=running)) == [("a", 3)]
    assert plan_runs({"a": ONE}, {"a": 50}, nodes, 2, running=running) == []
    found = plan_runs({"a": ONE}, {"a": 50}, nodes, 25, most_a_run=10)
    assert [(run.node, run.lanes) for run in found] == [("n", 10), ("n", 10), ("m", 5)]
    assert sum(run.lanes for run in plan_runs({"a": ONE}, {"a": 21}, nodes, None)) == 21
    huge = plan_runs({"a": ONE}, {"a": 50_000}, (Node(name="n", cpus=12_000.0),), None)
    assert sum(run.lanes for run in huge) == 12_000


def test_ranks_are_placed_node_by_node_and_hold_what_they_take() -> None:
    nodes = (Node(name="a", cpus=3.0, memory_bytes=9), Node(name="b", cpus=3.0, memory_bytes=9))
    pair = Resources(workers=2, gpus=0.0, memory_bytes=2)
    assert lanes_of(plan_runs({"p": pair}, {"p": 2}, nodes, None)) == [("p", 1), ("p", 1)]
    runs = plan_runs({"p": pair}, {"p": 9}, nodes, None)
    assert [(run.lanes, run.node) for run in runs] == [(1, "")] * 3
    left = free_nodes(nodes, runs[:2])
    assert [(node.cpus, node.memory_bytes) for node in left.values()] == [(0.0, 3), (2.0, 7)]
    assert len(plan_runs({"p": pair}, {"p": 9}, nodes, None, running=runs[:2])) == 1
    whole = RunPlan(shape="p", resources=pair, lanes=2)  # two lanes of one run take as much as two runs
    assert free_nodes(nodes, [whole]) == left
    assert plan_runs({"p": Resources(workers=2, cpus=2.0, gpus=0.0)}, {"p": 9}, nodes, None) == plan_runs(
        {"p": Resources(workers=2, cpus=2.0, gpus=0.0)}, {"p": 1}, nodes, None
    )


def test_independent_lanes_hold_cpus_gpus_and_memory_of_their_node() -> None:
    node = Node(name="a", cpus=8.0, gpus=4.0, memory_bytes=100)
    plan = RunPlan(shape="s", resources=Resources(cpus=2.0, gpus=0.5, memory_bytes=10), lanes=3, node="a")
    (left,) = free_nodes((node,), [plan]).values()
    assert (left.cpus, left.gpus, left.memory_bytes) == (2.0, 2.5, 70)
    plain = RunPlan(shape="s", resources=Resources(gpus=None), lanes=3, node="a")
    (left,) = free_nodes((node,), [plain]).values()
    assert (left.cpus, left.gpus, left.memory_bytes) == (5.0, 4.0, 100)


@pytest.mark.parametrize(
    ("free", "running", "before", "settled", "left"),
    [
        ((None, None), 0, None, True, (8.0, 4.0)),
        ((3.0, None), 0, None, True, (8.0, 4.0)),  # half known is not known
        ((3.0, 1.0), 0, None, True, (3.0, 1.0)),
        ((3.0, 1.0), 2, None, True, (5.0, 2.0)),  # what is ours is ours
        ((8.0, 4.0), 2, None, True, (8.0, 4.0)),
        ((3.0, 1.0), 0, (2.0, 3.0), True, (3.0, 1.0)),
        ((3.0, 1.0), 0, (2.0, 0.5), False, (2.0, 0.5)),  # lanes are coming up
        ((3.0, 1.0), 0, (4.0, 3.0), False, (3.0, 1.0)),
    ],
)
def test_node_is_left_without_what_others_hold(
    free: tuple[float | None, float | None],
    running: int,
    before: tuple[float, float] | None,
    settled: bool,
    left: tuple[float, float],
) -> None:
    node = Node(name="a", cpus=8.0, gpus=4.0, free_cpus=free[0], free_gpus=free[1])
    plans = [
        RunPlan(shape="s", resources=Resources(gpus=0.5), lanes=running, node="a"),
        RunPlan(shape="s", resources=Resources(gpus=None), lanes=5, node="elsewhere"),
    ]
    former = [] if before is None else [Node(name="a", cpus=before[0], gpus=before[1])]
    (found,) = leave_to_others([node], plans, former, settled=settled)
    assert (found.cpus, found.gpus) == left


@pytest.mark.parametrize(
    ("resources", "lanes", "nodes", "room"),
    [
        (Resources(), None, CLUSTER, GpuRoom(gpus=6, lanes=2)),  # eight processors for four GPUs
        (Resources(cpus=4.0), None, CLUSTER[:1], GpuRoom(gpus=2, lanes=1)),
        (Resources(memory_bytes=2), None, (Node(name="a", cpus=64.0, gpus=1.0, memory_bytes=7),), 3),
        (Resources(accelerator="H200"), None, CLUSTER, GpuRoom(gpus=2, lanes=4)),
        (Resources(), 7, (Node(name="a", cpus=64.0, gpus=2.0),), GpuRoom(gpus=2, lanes=3)),
        (Resources(), 1, (Node(name="a", cpus=64.0, gpus=2.0),), GpuRoom(gpus=2, lanes=1)),
        (Resources(gpus=1.0), None, CLUSTER, None),
        (Resources(gpus=0.5), None, CLUSTER, None),
        (Resources(workers=2), None, CLUSTER, None),
        (Resources(), None, LAPTOP, None),
    ],
)
def test_room_for_lanes_that_share_gpus_is_of_auto_alone(
    resources: Resources, lanes: int | None, nodes: tuple[Node, ...], room: GpuRoom | int | None
) -> None:
    found = gpu_rooms(sweep(family(resources=resources), lanes=lanes), nodes)
    wanted = GpuRoom(gpus=1, lanes=room) if isinstance(room, int) else room
    assert found == ({} if wanted is None else {"noop": wanted})


def test_run_of_lanes_that_share_a_gpu_is_as_large_as_the_gpu() -> None:
    """So that each GPU is given back by itself; other shapes have runs as before."""
    shapes = {"g": Resources(gpus=0.25), "c": Resources(gpus=0.0)}
    nodes, sizes = (Node(name="a", cpus=24.0, gpus=2.0),), {"g": 4}
    runs = plan_runs({"g": shapes["g"]}, {"g": 40}, nodes, None, run_sizes=sizes)
    assert lanes_of(runs) == [("g", 4), ("g", 4)]
    assert lanes_of(plan_runs(shapes, {"c": 40}, nodes, None, run_sizes=sizes)) == [("c", 8)] * 3
    beside = plan_runs({"g": shapes["g"]}, {"g": 40}, nodes, None, run_sizes=sizes, most_a_run=2)
    assert lanes_of(beside) == [("g", 2)] * 4
    few = plan_runs({"g": shapes["g"]}, {"g": 5}, nodes, None, run_sizes=sizes)
    assert lanes_of(few) == [("g", 4), ("g", 4)]
    assert lanes_of(plan_runs({"g": shapes["g"]}, {"g": 5}, nodes, 6, run_sizes=sizes)) == [
        ("g", 4),
        ("g", 2),
    ]


def test_run_of_lanes_that_share_a_gpu_has_one_beside_other_shapes() -> None:
    shapes = {"whole": Resources(gpus=1.0), "g": Resources(gpus=0.25)}
    sizes, wanted = {"whole": 1, "g": 4}, {"whole": 1, "g": 9}
    for gpus, runs in ((1.0, [("whole", 1)]), (2.0, [("whole", 1), ("g", 4)])):
        nodes = (Node(name="a", cpus=24.0, gpus=gpus),)
        assert lanes_of(plan_runs(shapes, wanted, nodes, None, run_sizes=sizes)) == runs
    shapes, sizes = {"g": Resources(gpus=0.25), "h": Resources(gpus=0.25, cpus=2.0)}, {"g": 4, "h": 4}
    nodes = (Node(name="a", cpus=24.0, gpus=3.0),)
    plans = plan_runs(shapes, {"g": 40, "h": 40}, nodes, None, run_sizes=sizes)
    assert lanes_of(plans) == [("g", 4), ("g", 4), ("h", 4)]
