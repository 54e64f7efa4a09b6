"""What lanes wait for, and which runs are planned anew."""

from __future__ import annotations

import pytest

from infra.coordinator.placement import Node, RunPlan
from infra.coordinator.shortage import PLACE_LIMIT_S, RunProgress, describe_shortage, find_hopeless_runs
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
