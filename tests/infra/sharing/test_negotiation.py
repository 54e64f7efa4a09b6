"""Sweeps of one ledger that see each other, and those that are gone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.coordinator.placement import Node, RunPlan
from infra.ledger.batch import WriteBatch
from infra.ledger.liveness import describe_this_process
from infra.sharing.claims import CLAIM, claim_fact
from infra.sharing.negotiation import LOOK_EVERY_S, LaneShare, ShareKeeper
from infra.spec import Resources
from tests.infra.conftest import Bench, sweep

ONE = Resources(gpus=0.0)
WANTED = {"1x1cpu": (ONE, 40)}


class SharingDriver:
    """A driver that claims, keeps its claim in the ledger, and takes and gives back what it may."""

    def __init__(self, bench: Bench, name: str, cluster: str = "head", **changes: object) -> None:
        self.bench, self.spec = bench, replace(sweep(), name=name, **changes)  # type: ignore[arg-type]
        self.sweep_id = bench.ledger.create_sweep(self.spec, fingerprint="f", facts={}, at=1.0)
        self.owner = replace(describe_this_process(), token=name)
        self.epoch, _ = bench.ledger.claim(self.sweep_id, self.owner, lambda owner: True)
        self.keeper = ShareKeeper(
            bench.ledger, self.sweep_id, self.spec, cluster, "pid 7 on w1", steady=bench.clock
        )
        self.lanes = 0

    def look(self, free: float, wanted: int = 40) -> LaneShare:
        """What it may have of four processors, of which so many are free."""
        nodes = [Node(name="a", cpus=4.0, free_cpus=free, free_gpus=0.0)]
        plans = [RunPlan(shape="1x1cpu", resources=ONE, lanes=self.lanes, node="a")] if self.lanes else []
        share = self.keeper.update({"1x1cpu": (ONE, wanted)}, nodes, plans)
        fact = claim_fact(share.claim, self.keeper.cluster)
        self.bench.ledger.commit(self.sweep_id, self.epoch, WriteBatch(sweep={"facts": {CLAIM: fact}}))
        return share


@pytest.fixture
def bench(any_bench: Bench) -> Bench:
    return any_bench


def test_sweeps_of_one_cluster_come_to_equal_shares_and_the_last_gets_all(bench: Bench) -> None:
    first, second = SharingDriver(bench, "first"), SharingDriver(bench, "second")
    assert first.look(4.0).allowed is None  # nobody else is there
    first.lanes = 4
    first.look(0.0)
    waiting = second.look(0.0)
    assert (waiting.allowed, waiting.others) == (2, "first has 4 lanes (pid 7 on w1)")
    bench.clock.now += LOOK_EVERY_S
    assert first.look(0.0).allowed == 2
    first.lanes = 2  # given back, and its own look at what is free is older
    assert first.look(0.0).allowed == 2
    second.lanes = 2
    second.look(0.0)
    bench.clock.now += LOOK_EVERY_S
    assert first.look(0.0).allowed == 2
    bench.ledger.release(second.sweep_id, "second")
    bench.clock.now += LOOK_EVERY_S
    assert first.look(2.0).allowed is None


def test_claim_of_a_dead_driver_or_of_another_cluster_counts_nothing(bench: Bench) -> None:
    mine = SharingDriver(bench, "mine")
    dead, elsewhere = SharingDriver(bench, "dead"), SharingDriver(bench, "elsewhere", "another")
    for other in (dead, elsewhere):
        other.lanes = 3
        other.look(0.0)
    older = SharingDriver(bench, "older")
    fact = {"cluster": "head", "wanted": 4}
    bench.ledger.commit(older.sweep_id, older.epoch, WriteBatch(sweep={"facts": {CLAIM: fact}}))
    gone = replace(describe_this_process(), token="gone", pid_started_at=1.0)
    bench.ledger.claim(dead.sweep_id, gone, lambda owner: True)
    assert mine.look(4.0).allowed is None


def test_weight_and_cap_of_a_sweep_shape_its_share(bench: Bench) -> None:
    heavy, light = SharingDriver(bench, "heavy", weight=3.0), SharingDriver(bench, "light")
    heavy.look(4.0), light.look(4.0)
    bench.clock.now += LOOK_EVERY_S
    assert (heavy.look(4.0).allowed, light.look(4.0).allowed) == (3, 1)
    capped = SharingDriver(bench, "capped", lanes=1)
    assert capped.look(4.0).claim.wanted == 1
    assert capped.look(4.0).claim.weight == 1.0


def test_sweep_near_its_end_leaves_to_others_what_it_cannot_use(bench: Bench) -> None:
    ending, other = SharingDriver(bench, "ending"), SharingDriver(bench, "other")
    ending.look(4.0, wanted=1), other.look(4.0)
    bench.clock.now += LOOK_EVERY_S
    assert other.look(4.0).allowed == 3


def test_stranger_is_left_what_it_holds_once_it_is_seen_again(bench: Bench) -> None:
    first, second = SharingDriver(bench, "first"), SharingDriver(bench, "second")
    first.look(4.0), second.look(4.0)
    first.lanes = second.lanes = 2
    first.look(0.0), second.look(0.0)
    bench.clock.now += LOOK_EVERY_S
    first.lanes = 1
    first.look(0.0)
    assert second.look(0.0).allowed == 2  # it may be what the first is just giving back
    bench.clock.now += LOOK_EVERY_S
    assert [second.look(0.0).allowed for _ in range(3)][-1] == 1
