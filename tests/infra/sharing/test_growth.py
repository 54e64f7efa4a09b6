"""What an autoscaler is asked for, and whether there is one."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any
from unittest.mock import MagicMock

import pytest

from infra.coordinator.placement import RunPlan
from infra.sharing.growth import ClusterGrowth, is_grown_by_demand, kinds_in_report, missing_workers
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
