"""What lanes wait for, and which runs are planned anew."""

from __future__ import annotations

import pytest

from infra.coordinator.placement import Node, RunPlan
from infra.driver.shortage import PLACE_LIMIT_S, RunProgress, describe_shortage, find_hopeless_runs
from infra.spec import Resources

NODES = (Node(name="a", cpus=1.0), Node(name="b", cpus=1.0, gpus=1.0))
PAIR = Resources(cpus=2.0, gpus=0.0)


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        (PAIR, "a lane waits for 2 CPU on one node; free: 1 + 1"),
        (Resources(workers=3, gpus=0.0), "a lane waits for 1 CPU for each of 3 workers; free: 1 + 1"),
        (
            Resources(cpus=2.0, gpus=1.0),
            "a lane waits for 2 CPU, 1 GPU on one node; free: 1 (0 GPU) + 1 (1 GPU)",
        ),
        (Resources(gpus=0.0), ""),
    ],
)
def test_shortage_is_said_with_what_is_free_of_each_node(resources: Resources, words: str) -> None:
    assert describe_shortage({"s": resources}, {"s": 9}, NODES, None, []) == words


@pytest.mark.parametrize(
    ("lanes", "wanted", "words"),
    [
        (3, 9, "2 lanes wait for 2 CPU on one node; free: 1 + 1"),
        (3, 2, "a lane waits for 2 CPU on one node; free: 1 + 1"),  # of two trials one has a lane
        (1, 9, ""),
        (None, 9, ""),
    ],
)
def test_lanes_that_were_asked_for_and_find_no_room_are_counted(
    lanes: int | None, wanted: int, words: str
) -> None:
    nodes = (*NODES, Node(name="c", cpus=2.0))
    running = [RunPlan(shape="p", resources=PAIR, lanes=1, node="c")]
    assert describe_shortage({"p": PAIR}, {"p": wanted}, nodes, lanes, running) == words


def run_of(**changes: object) -> RunProgress:
    usual = {"name": "r", "node": "a", "lanes": 0, "pending": False, "waited_s": 5.0}
    return RunProgress(**{**usual, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("run", "why"),
    [
        (run_of(), None),
        (run_of(node="gone"), "its node is gone"),
        (run_of(node="gone", lanes=1), None),  # where its raylet alone died, workers live on
        (run_of(pending=True, waited_s=PLACE_LIMIT_S), None),
        (run_of(pending=True, waited_s=PLACE_LIMIT_S + 1), "Ray found no room for it in 30 s"),
        (run_of(waited_s=PLACE_LIMIT_S + 1), None),  # its processes start, which takes long on a busy node
        (run_of(waited_s=120.0), None),
        (run_of(waited_s=121.0), "no lane of it came up in 120 s (limits.start)"),
        (run_of(lanes=1, waited_s=121.0, pending=True), None),
        (run_of(node="", pending=True, waited_s=31.0), "Ray found no room for it in 30 s"),
    ],
)
def test_run_without_lanes_is_given_up_by_its_limit(run: RunProgress, why: str | None) -> None:
    works = run_of(name="other", lanes=1)
    assert find_hopeless_runs([run, works], NODES, 120.0) == ([] if why is None else [("r", why)])


def test_runs_of_which_none_comes_up_are_left_to_the_limit_that_ends_the_sweep() -> None:
    runs = [run_of(waited_s=500.0), run_of(name="other", waited_s=500.0)]
    assert find_hopeless_runs(runs, NODES, 120.0) == []


@pytest.mark.parametrize(
    ("nodes", "resources", "free"),
    [
        ([(0.0, 0.0)], PAIR, "nothing"),
        ([(0.0, 0.0), (1.0, 0.0), (0.5, 0.0)], PAIR, "1 + 0.5"),
        ([(0.0, 1.0)], PAIR, "nothing"),
        ([(0.0, 1.0), (0.0, 0.0)], Resources(cpus=2.0, gpus=1.0), "0 (1 GPU)"),
        ([(1.0, 0.0)] * 8, PAIR, " + ".join(["1"] * 8)),
        ([(1.0, 0.0)] * 10, PAIR, " + ".join(["1"] * 8) + " + 2 more"),
        ([(-1.0, 0.0), (1.0, 0.0)], PAIR, "1"),
        ([(1.0, -1.0)], Resources(cpus=2.0, gpus=1.0), "1 (0 GPU)"),
    ],
)
def test_shortage_lists_the_first_eight_nodes_with_something_left(
    nodes: list[tuple[float, float]], resources: Resources, free: str
) -> None:
    cluster = [Node(name=f"n{at}", cpus=cpus, gpus=gpus) for at, (cpus, gpus) in enumerate(nodes)]
    words = describe_shortage({"s": resources}, {"s": 9}, cluster, None, [])
    assert words.partition("; free: ")[2] == free


@pytest.mark.parametrize(
    ("wanted", "lanes", "planned", "who"),
    [
        ({"s": 9}, None, 0, "a lane waits"),
        ({"s": 9}, None, 1, ""),  # it has a lane
        ({"s": 9}, 4, 0, "4 lanes wait"),
        ({"s": 9}, 4, 2, "2 lanes wait"),
        ({"s": 9}, 4, 4, ""),
        ({"s": 3}, 9, 1, "2 lanes wait"),
        ({"s": 2}, 9, 1, "a lane waits"),
        ({"s": 1}, 9, 1, ""),
        ({}, 9, 0, ""),
    ],
)
def test_lanes_wait_for_trials_that_have_none_up_to_the_limit(
    wanted: dict[str, int], lanes: int | None, planned: int, who: str
) -> None:
    nodes = (*NODES, Node(name="c", cpus=8.0))
    running = [RunPlan(shape="s", resources=PAIR, lanes=planned, node="c")] if planned else []
    full = [RunPlan(shape="o", resources=Resources(cpus=8.0 - 2 * planned, gpus=0.0), lanes=1, node="c")]
    limit = lanes if lanes is None else lanes + 1  # one of another shape
    assert describe_shortage({"s": PAIR}, wanted, nodes, limit, running + full).partition(" for ")[0] == who


def test_ranks_wait_until_all_of_them_find_room() -> None:
    ranks = Resources(workers=2, gpus=0.0)
    assert describe_shortage({"s": ranks}, {"s": 1}, NODES, None, []) == ""
    assert describe_shortage({"s": ranks}, {"s": 1}, NODES[:1], None, []).startswith("a lane waits")
