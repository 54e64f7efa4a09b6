"""Which runs are begun and given up, with runs that only say that they were started."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from infra.coordinator.placement import Node, RunPlan
from infra.coordinator.shell.status import CoordinatorStatus
from infra.driver import run_pool
from infra.driver.run_pool import RunPool
from infra.errors import ClusterUnavailable
from infra.lanes import backend
from infra.lanes.settings import LaneSettings
from infra.sharing.growth import ClusterGrowth
from infra.spec import Resources
from tests.infra.conftest import Clock

ONE = Resources(gpus=0.0)


class FakeRun:
    """A run that lives until it is ended."""

    made: list[FakeRun]

    def __init__(self, plan: RunPlan, *_: object, **__: object) -> None:
        self.plan, self.name = plan, f"run-{len(self.made)}"
        self.is_alive, self.released, self.error = True, False, None
        self.made.append(self)

    def start(self) -> None:
        """Nothing to begin."""

    def release(self) -> None:
        """Its place is free."""
        self.released = True


class Cluster:
    """Two nodes of two processors, what is free of them, and what Ray looks for room for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, growth: ClusterGrowth | None = None) -> None:
        self.clock, self.actor = Clock(), MagicMock()
        self.actor.end_run.remote = MagicMock(side_effect=self.end_run)
        self.free, self.pending = {"a": 2.0, "b": 2.0}, set[str]()
        self.sick: dict[str, int] = {}
        self.leaving = set[str]()
        FakeRun.made = []
        monkeypatch.setattr(run_pool, "LaneRun", FakeRun)
        monkeypatch.setattr(run_pool, "list_nodes", self.nodes)
        monkeypatch.setattr(run_pool, "list_leaving_nodes", lambda: frozenset(self.leaving))
        monkeypatch.setattr(run_pool, "stretch_limit", lambda limit_s: limit_s)  # of a quiet machine
        monkeypatch.setattr(backend, "list_pending_runs", lambda runs: self.pending & set(runs))
        settings: Any = MagicMock(spec=LaneSettings)
        self.pool = RunPool(
            settings, self.nodes(), self.actor, Path("scratch"), None, start_s=120.0, own_ray=False,
            growth=growth, steady=self.clock,
        )  # fmt: skip

    def end_run(self, name: str) -> None:
        FakeRun.made[int(name.removeprefix("run-"))].is_alive = False

    def nodes(self) -> list[Node]:
        return [Node(name=name, cpus=2.0, free_cpus=free, free_gpus=0.0) for name, free in self.free.items()]

    def pass_time(self, seconds: float, **lanes: int) -> list[tuple[str, int]]:
        """The plans, by node, of runs that live after so much time."""
        status = self.status = CoordinatorStatus(
            lanes=sum(lanes.values()), lanes_by_run={run.replace("_", "-"): n for run, n in lanes.items()},
            wanted={"1x1cpu": (ONE, 40)}, sick_nodes=self.sick,
        )  # fmt: skip
        self.clock.now += seconds
        self.pool.maintain(status)
        return [(run.plan.node, run.plan.lanes) for run in FakeRun.made if run.is_alive]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster(monkeypatch)


def test_run_whose_room_a_stranger_took_is_planned_anew_on_what_is_left(cluster: Cluster) -> None:
    assert cluster.pass_time(0.0) == [("a", 2), ("b", 2)]
    cluster.free = {"a": 0.0, "b": 1.0}  # ours on a hold it; of b a stranger took one before Ray placed two
    cluster.pending = {"run-1"}
    assert cluster.pass_time(20.0, run_0=2) == [("a", 2), ("b", 2)]
    assert cluster.pool.planned_lanes == 4
    assert cluster.pass_time(20.0, run_0=2) == [("a", 2), ("b", 1)]
    cluster.actor.end_run.remote.assert_called_once_with("run-1")
    assert cluster.pool.planned_lanes == 3
    cluster.pass_time(0.5, run_0=2)
    assert [run.released for run in FakeRun.made] == [False, True, False]


def test_runs_of_lanes_that_share_gpus_are_as_large_as_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what held a GPU before is planned over again once its run has ended."""
    cluster = Cluster(monkeypatch)
    cluster.pool = RunPool(
        MagicMock(spec=LaneSettings), [Node(name="g", cpus=16.0, gpus=2.0)], cluster.actor, Path("scratch"),
        None, start_s=120.0, own_ray=True, steady=cluster.clock,
    )  # fmt: skip

    def maintain(gpus: float, lanes: int) -> list[tuple[str, int]]:
        sizes = {"1x1cpu-1gpu": 1, f"1x1cpu-{gpus:g}gpu": lanes}
        wanted = {f"1x1cpu-{gpus:g}gpu": (Resources(gpus=gpus), 40)}
        cluster.pool.maintain(CoordinatorStatus(lanes=1, wanted=wanted, run_sizes=sizes))
        return [(run.plan.shape, run.plan.lanes) for run in FakeRun.made if run.is_alive]

    whole, shared = ("1x1cpu-1gpu", 1), ("1x1cpu-0.25gpu", 4)
    assert maintain(1.0, 1) == [whole, whole]
    assert maintain(0.25, 4) == [whole, whole]
    FakeRun.made[0].is_alive = False
    assert maintain(0.25, 4) == [whole, shared]
    FakeRun.made[1].is_alive = False
    assert maintain(0.25, 4) == [shared, shared]


def test_runs_follow_nodes_that_come_and_go(cluster: Cluster) -> None:
    cluster.pass_time(0.0)
    cluster.free = {"a": 0.0}
    cluster.pass_time(15.0, run_0=2, run_1=2)
    assert cluster.pool.planned_lanes == 2  # what may still live on b is not counted on
    cluster.free = {"a": 0.0, "c": 2.0}
    assert cluster.pass_time(15.0, run_0=2) == [("a", 2), ("c", 2)]
    cluster.actor.end_run.remote.assert_called_once_with("run-1")


def test_run_that_takes_long_to_start_is_not_ended_before_its_limit(cluster: Cluster) -> None:
    cluster.pass_time(0.0)
    cluster.free = {"a": 0.0, "b": 0.0}
    assert cluster.pass_time(100.0, run_0=2) == [("a", 2), ("b", 2)]
    cluster.actor.end_run.remote.assert_not_called()
    cluster.pass_time(30.0, run_0=2)
    cluster.actor.end_run.remote.assert_called_once_with("run-1")


def test_node_of_two_sick_lanes_gets_no_more_runs(cluster: Cluster) -> None:
    cluster.pass_time(0.0)
    cluster.free, cluster.sick = {"a": 0.0, "b": 0.0}, {"b": 2}
    cluster.pass_time(15.0, run_0=2, run_1=2)
    cluster.actor.leave_out.remote.assert_called_once_with(["b"])
    cluster.pass_time(15.0, run_0=2, run_1=2)
    assert cluster.actor.leave_out.remote.call_count == 2  # the coordinator may have begun anew
    FakeRun.made[1].is_alive, cluster.free = False, {"a": 0.0, "b": 2.0}  # its lanes have left
    assert cluster.pass_time(15.0, run_0=2) == [("a", 2)]
    cluster.free["c"] = 2.0
    assert cluster.pass_time(15.0, run_0=2) == [("a", 2), ("c", 2)]
    del cluster.free["a"], cluster.free["c"]
    cluster.pass_time(15.0)
    cluster.actor.leave_out.remote.assert_called_with([])  # no other is left


def test_node_that_leaves_is_told_of_within_seconds_and_planned_on_no_more(cluster: Cluster) -> None:
    cluster.pass_time(0.0)
    cluster.free, cluster.leaving = {"a": 0.0, "b": 0.0, "c": 2.0}, {"b"}
    assert cluster.pass_time(3.0, run_0=2, run_1=2) == [("a", 2), ("b", 2), ("c", 2)]
    cluster.actor.evacuate.remote.assert_called_once_with(["b"])
    assert cluster.pool.planned_lanes == 4
    FakeRun.made[1].is_alive, cluster.free = False, {"a": 0.0, "b": 2.0, "c": 0.0}  # its lanes have left
    cluster.leaving = set()  # gone, for Ray; a lane there may still be found to be dead
    assert cluster.pass_time(15.0, run_0=2, run_2=2) == [("a", 2), ("c", 2)]
    assert cluster.actor.evacuate.remote.call_count == 2  # the coordinator may have begun anew


def test_lanes_beyond_the_share_are_given_back_and_taken_again_when_it_grows(cluster: Cluster) -> None:
    cluster.pass_time(0.0)
    cluster.free, cluster.pool.allowed = {"a": 0.0, "b": 0.0}, 2
    cluster.pass_time(0.5, run_0=2, run_1=2)
    cluster.actor.dismiss_runs.remote.assert_called_once_with(["run-0"])
    cluster.actor.end_run.remote.assert_not_called()  # what its lanes train comes to its end
    assert cluster.pool.planned_lanes == 2
    assert sum(plan.lanes for plan in cluster.pool.plans) == 4
    FakeRun.made[0].is_alive, cluster.free = False, {"a": 2.0, "b": 0.0}
    assert cluster.pass_time(15.0, run_1=2) == [("b", 2)]  # what is free is the others'
    cluster.pool.allowed = None
    assert cluster.pass_time(15.0, run_1=2) == [("b", 2), ("a", 2)]
    assert {str(call) for call in cluster.actor.dismiss_runs.remote.mock_calls} == {"call(['run-0'])"}


def test_lanes_that_have_not_come_up_are_given_back_at_once(cluster: Cluster) -> None:
    cluster.pass_time(0.0)
    cluster.pool.allowed = 3
    cluster.pass_time(0.5, run_0=2)
    cluster.actor.end_run.remote.assert_called_once_with("run-1")
    assert cluster.pass_time(0.5, run_0=2) == [("a", 2), ("b", 1)]


def test_runs_on_a_shared_cluster_are_small_enough_to_be_given_back(cluster: Cluster) -> None:
    cluster.free = {"a": 0.0, "b": 2.0}
    cluster.pool.allowed = 0
    cluster.pass_time(0.0)
    assert FakeRun.made == []
    cluster.pool.allowed = 5
    cluster.pass_time(0.5)
    assert max(run.plan.lanes for run in FakeRun.made) <= run_pool.LANES_A_SHARED_RUN


def test_cluster_that_grows_is_asked_for_lanes_that_find_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    channel = MagicMock()
    clock = Clock()
    cluster = Cluster(monkeypatch, ClusterGrowth(channel, clock))
    cluster.free = {}  # a head without processors, at first
    cluster.pool = RunPool(
        MagicMock(spec=LaneSettings), [Node(name="head", cpus=0.0, free_cpus=0.0, free_gpus=0.0)],
        cluster.actor, Path("scratch"), 3, start_s=120.0, own_ray=False,
        growth=ClusterGrowth(channel, clock), steady=cluster.clock,
    )  # fmt: skip
    assert cluster.pass_time(15.0) == []
    channel.request_resources.assert_called_once_with([{"CPU": 1.0}] * 3, 60.0)
    told = cluster.pool.describe_shortage(cluster.status)
    assert (
        told
        == "3 lanes wait for 1 CPU on one node; free: nothing; the autoscaler is asked for 3 workers more"
    )
    cluster.free = {"a": 2.0}
    assert cluster.pass_time(15.0) == [("a", 2)]
    cluster.free = {"a": 0.0}
    cluster.pass_time(15.0, run_0=2)
    assert channel.request_resources.call_args.args[0] == [{"CPU": 1.0}] * 3  # two of them are held
    assert cluster.pool.describe_shortage(cluster.status).endswith("is asked for 1 worker more")


def test_sweep_that_is_alone_asks_for_what_strangers_hold_beside_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    channel = MagicMock()
    cluster = Cluster(monkeypatch)
    cluster.free = {"a": 1.0}
    cluster.pool = RunPool(
        MagicMock(spec=LaneSettings), cluster.nodes(), cluster.actor, Path("scratch"), 3, start_s=120.0,
        own_ray=False, growth=ClusterGrowth(channel, Clock()), steady=cluster.clock,
    )  # fmt: skip
    cluster.pass_time(15.0)
    cluster.free = {"a": 0.0}
    cluster.pass_time(15.0, run_0=1)
    assert len(channel.request_resources.call_args.args[0]) == 4  # a lane, a stranger, two that are missing
    cluster.pool.allowed = 3  # another sweep is there: what is not ours may be its, and in its own demand
    cluster.pass_time(15.0, run_0=1)
    assert len(channel.request_resources.call_args.args[0]) == 3


def test_cluster_that_does_not_grow_refuses_a_lane_that_fits_nowhere(cluster: Cluster) -> None:
    cluster.free = {}
    cluster.pool = RunPool(
        MagicMock(spec=LaneSettings), [Node(name="head", cpus=0.0)], cluster.actor, Path("scratch"), 3,
        start_s=120.0, own_ray=False, steady=cluster.clock,
    )  # fmt: skip
    with pytest.raises(ClusterUnavailable, match="the cluster must have room for one lane"):
        cluster.pass_time(0.0)
