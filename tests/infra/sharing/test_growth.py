"""What an autoscaler is asked for, and whether there is one."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any
from unittest.mock import MagicMock

import pytest

from infra.coordinator.placement import Node, RunPlan, leave_to_others
from infra.sharing.growth import (
    FORGET_S,
    ClusterGrowth,
    DemandLimit,
    held_workers,
    is_grown_by_demand,
    kinds_in_report,
    missing_workers,
)
from infra.spec import Resources
from tests.infra.conftest import Clock

SMALL, PAIR = Resources(gpus=0.0), Resources(cpus=2.0, gpus=1.0, workers=2, memory_bytes=1 << 30)
SHAPES = {"small": SMALL, "pair": PAIR}
ONE_OF_A_PAIR = {"CPU": 2.0, "GPU": 1.0, "memory": float(1 << 30)}


@pytest.mark.parametrize(
    ("wanted", "limit", "running", "expected"),
    [
        ({"small": 2, "pair": 0}, None, [], [{"CPU": 1.0}] * 2),
        ({"small": 0, "pair": 1}, None, [], [ONE_OF_A_PAIR] * 2),
        ({"small": 5, "pair": 5}, 3, [], [{"CPU": 1.0}] * 3),
        ({"small": 5, "pair": 1}, None, [("small", 4)], [{"CPU": 1.0}, ONE_OF_A_PAIR, ONE_OF_A_PAIR]),
        ({"small": 5}, 4, [("small", 4)], []),
        ({"small": 1}, None, [("small", 4)], []),
        ({}, None, [], []),
    ],
)
def test_missing_workers_are_those_of_lanes_that_nothing_is_planned_for(
    wanted: dict[str, int],
    limit: int | None,
    running: list[tuple[str, int]],
    expected: list[dict[str, float]],
) -> None:
    plans = [RunPlan(shape=shape, resources=SHAPES[shape], lanes=lanes) for shape, lanes in running]
    assert missing_workers(SHAPES, wanted, limit, plans) == expected


def test_demand_is_told_when_it_changes_and_before_it_expires_and_withdrawn() -> None:
    clock, channel = Clock(), MagicMock()
    growth = ClusterGrowth(channel, clock)
    growth.ask([])
    growth.close()
    assert not channel.method_calls
    for seconds, calls in ((0.0, 1), (10.0, 1), (25.0, 2), (1.0, 2)):
        clock.now += seconds
        growth.ask([{"CPU": 1.0}])
        assert channel.request_resources.call_count == calls
    growth.ask([{"CPU": 1.0}, {"CPU": 1.0}])
    assert growth.words == "the autoscaler is asked for 2 workers more"
    growth.close()
    channel.cancel_request.assert_called_once_with()
    assert growth.words == ""


class WholeOrNothing:
    """An autoscaler that brings nothing of a demand that it cannot meet whole, and a sweep that grows."""

    def __init__(self, most: int, missing: int) -> None:
        self.most, self.missing, self.up = most, missing, 0
        self.clock, self.channel = Clock(), MagicMock()
        self.growth = ClusterGrowth(self.channel, self.clock, is_refused=lambda: self.demand > self.most)

    @property
    def demand(self) -> int:
        last = self.channel.request_resources.call_args
        return 0 if last is None else len(last.args[0])

    def look(self) -> None:
        """Ten seconds pass; nodes that were granted are there, each with a lane."""
        held, missing = [{"CPU": 1.0}] * self.up, [{"CPU": 1.0}] * (self.missing - self.up)
        self.growth.ask(missing, held)
        if self.demand <= self.most:
            self.up = max(self.up, self.demand)
        self.clock.now += 10.0


@pytest.mark.parametrize("most", [1, 2, 3, 7, 8, 100])
@pytest.mark.parametrize("missing", [1, 8, 1000])
def test_cluster_with_a_limit_is_grown_to_it_whatever_the_sweep_would_use(most: int, missing: int) -> None:
    sweep = WholeOrNothing(most, missing)
    looks = 0
    while sweep.up < min(most, missing):
        sweep.look()
        looks += 1
        assert looks <= 16
    assert looks <= 3 or most > 2


def test_cluster_that_can_bring_nothing_is_said_and_asked_again_after_minutes() -> None:
    sweep = WholeOrNothing(0, 8)
    for _ in range(6):
        sweep.look()
    assert sweep.growth.words == "the autoscaler brings no more"
    sweep.channel.cancel_request.assert_called()
    sweep.most = 8  # somebody has raised the limit
    sweep.clock.now += FORGET_S
    sweep.look()
    assert sweep.up == 8


def test_demand_holds_what_lanes_hold_already_for_it_is_compared_with_whole_nodes() -> None:
    """Asking for what is missing alone, a cluster that grows by a few nodes at a time stops at half."""
    plans = [RunPlan(shape="small", resources=SMALL, lanes=2, node="a")]
    nodes = [
        Node(name="a", cpus=4.0, free_cpus=1.0, free_gpus=0.0),
        Node(name="b", cpus=2.0, gpus=1.0, free_cpus=2.0, free_gpus=0.0),
    ]
    room = leave_to_others(nodes, plans, [], settled=True)
    strangers = [{"CPU": 1.0}, {"GPU": 1.0}]
    assert held_workers(plans, nodes, room) == [{"CPU": 1.0}, {"CPU": 1.0}, *strangers]
    assert held_workers(plans, (), room) == [{"CPU": 1.0}, {"CPU": 1.0}]
    channel = MagicMock()
    growth = ClusterGrowth(channel, Clock())
    growth.ask([{"CPU": 1.0}], held_workers(plans, nodes, room))
    (demand, _), _ = channel.request_resources.call_args
    assert demand == [{"CPU": 1.0}, {"CPU": 1.0}, *strangers, {"CPU": 1.0}]
    assert growth.words == "the autoscaler is asked for 1 worker more"


def test_autoscaler_that_does_not_answer_teaches_nothing() -> None:
    clock, channel = Clock(), MagicMock()
    growth = ClusterGrowth(channel, clock, is_refused=lambda: None)
    for _ in range(3):
        growth.ask([{"CPU": 1.0}] * 5)
        clock.now += 10.0
    assert growth.words == "the autoscaler is asked for 5 workers more"


def test_demand_is_not_judged_before_the_autoscaler_has_looked_at_it() -> None:
    clock = Clock()
    growth = ClusterGrowth(MagicMock(), clock, is_refused=lambda: True)
    growth.ask([{"CPU": 1.0}] * 5)
    clock.now += 3.0
    growth.ask([{"CPU": 1.0}] * 5)
    assert growth.words == "the autoscaler is asked for 5 workers more"
    clock.now += 5.0
    growth.ask([{"CPU": 1.0}] * 5)
    assert growth.words == "the autoscaler is asked for 1 worker more"


def test_limit_that_was_passed_is_none_any_more() -> None:
    limit = DemandLimit()
    limit.learn(4, refused=True)
    assert limit.allow(0, 8) == 1
    limit.learn(4, refused=False)
    assert limit.refused is None
    assert limit.allow(4, 8) == 8


@pytest.mark.parametrize(
    ("kinds", "grows"),
    [
        ([], False),
        (["node_0a1b", "node_ff"], False),
        (["ray.head.default"], True),
        (["node_0a", "gpu-workers"], True),
    ],
)
def test_cluster_grows_where_nodes_are_of_kinds_that_somebody_configured(
    kinds: Collection[str], grows: bool
) -> None:
    assert is_grown_by_demand(kinds) is grows
    report = json.dumps({"autoscaler_report": {"active_nodes": dict.fromkeys(kinds, 1)}})
    assert kinds_in_report(report.encode()) == set(kinds)


@pytest.mark.parametrize(
    "report", [None, b"", b"{", b"[]", b"null", json.dumps({"autoscaler_report": None}).encode()]
)
def test_report_that_says_nothing_names_no_kinds(report: Any) -> None:
    assert kinds_in_report(report) == set()
