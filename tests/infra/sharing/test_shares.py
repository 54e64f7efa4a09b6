"""How a cluster is shared: pure decisions."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.coordinator.placement import Node, RunPlan
from infra.sharing.shares import (
    LaneClaim,
    choose_returned_runs,
    describe_others,
    estimate_strangers,
    share_lanes,
)
from infra.spec import Resources


def claim_of(sweep_id: int, **changes: object) -> LaneClaim:
    usual: dict[str, object] = {
        "sweep": f"s{sweep_id}", "who": "pid 1 on h", "weight": 1.0, "wanted": 100, "cpus": 1.0, "gpus": 0.0,
        "lanes": 0, "held_cpus": 0.0, "held_gpus": 0.0,
    }  # fmt: skip
    return LaneClaim(sweep_id=sweep_id, **{**usual, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("claims", "cpus", "gpus", "lanes"),
    [
        ([claim_of(1)], 4, 0, [4]),
        ([claim_of(1), claim_of(2)], 4, 0, [2, 2]),
        ([claim_of(1), claim_of(2), claim_of(3)], 4, 0, [2, 1, 1]),
        ([claim_of(1, weight=3.0), claim_of(2)], 4, 0, [3, 1]),
        ([claim_of(1, wanted=1), claim_of(2)], 4, 0, [1, 3]),  # what one cannot use goes to the others
        ([claim_of(1, wanted=0), claim_of(2)], 4, 0, [0, 4]),
        ([claim_of(1, cpus=2.0), claim_of(2)], 4, 0, [1, 2]),  # by processors, not by lanes
        ([claim_of(1, gpus=1.0), claim_of(2)], 8, 2, [2, 6]),
        ([claim_of(1), claim_of(2), claim_of(3)], 2, 0, [1, 1, 0]),  # the last to come waits
        ([claim_of(1, cpus=0.1), claim_of(2, cpus=0.1)], 0.3, 0, [2, 1]),  # 3 * 0.1 > 0.3
        ([claim_of(1, cpus=8.0), claim_of(2)], 4, 0, [0, 4]),
    ],
)
def test_lanes_are_shared_by_weight_and_what_is_left_goes_to_who_can_use_it(
    claims: list[LaneClaim], cpus: float, gpus: float, lanes: list[int]
) -> None:
    assert list(share_lanes(claims, cpus, gpus).values()) == lanes


NEEDS = st.tuples(
    st.integers(0, 12), st.sampled_from([0.5, 1.0, 2.0]), st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([0.5, 1.0, 2.0, 3.0]),
)  # fmt: skip


@given(
    needs=st.lists(NEEDS, min_size=1, max_size=6),
    cpus=st.integers(0, 24),
    gpus=st.integers(0, 8),
    seed=st.integers(0, 9),
)
def test_shares_fit_the_room_and_leave_none_that_anybody_could_use(
    needs: list[tuple[int, float, float, float]], cpus: int, gpus: int, seed: int
) -> None:
    claims = [
        claim_of(place, wanted=wanted, cpus=lane_cpus, gpus=lane_gpus, weight=weight)
        for place, (wanted, lane_cpus, lane_gpus, weight) in enumerate(needs)
    ]
    shares = share_lanes(claims, cpus, gpus)
    left_cpus = cpus - sum(shares[claim.sweep_id] * claim.cpus for claim in claims)
    left_gpus = gpus - sum(shares[claim.sweep_id] * claim.gpus for claim in claims)
    assert min(left_cpus, left_gpus) >= -1e-9
    for claim in claims:
        assert 0 <= shares[claim.sweep_id] <= claim.wanted
        fits = claim.cpus <= left_cpus and claim.gpus <= left_gpus
        assert shares[claim.sweep_id] == claim.wanted or not fits
    shuffled = random.Random(seed).sample(claims, len(claims))  # each driver sees the others in any order
    assert share_lanes(shuffled, cpus, gpus) == shares


@given(count=st.integers(1, 20), cpus=st.integers(1, 64), weights=st.lists(st.integers(1, 4), min_size=20))
def test_no_sweep_is_more_than_a_lane_ahead_of_another_that_could_use_it(
    count: int, cpus: int, weights: list[int]
) -> None:
    claims = [claim_of(place, weight=float(weights[place])) for place in range(count)]
    shares = share_lanes(claims, cpus, 0)
    for ahead in claims:
        for behind in claims:
            before = (shares[ahead.sweep_id] - 1) / ahead.weight
            assert before <= shares[behind.sweep_id] / behind.weight + 1e-9
    if cpus >= count:
        assert min(shares.values()) >= 1


def test_strangers_are_what_is_held_beside_the_sweeps() -> None:
    nodes = [
        Node(name="a", cpus=8.0, gpus=2.0, free_cpus=1.0, free_gpus=0.0),
        Node(name="b", cpus=4.0, free_cpus=4.0, free_gpus=0.0),
        Node(name="c", cpus=4.0),  # nothing was heard of it yet
    ]
    claims = [claim_of(1, held_cpus=4.0, held_gpus=2.0), claim_of(2, held_cpus=1.0)]
    assert estimate_strangers(nodes, claims) == (2.0, 0.0)
    assert estimate_strangers(nodes, [claim_of(1, held_cpus=12.0)]) == (0.0, 2.0)


@pytest.mark.parametrize(
    ("sizes", "up", "excess", "chosen"),
    [
        ({"a": 2, "b": 2}, {"a": 2, "b": 2}, 2, ["a"]),
        ({"a": 2, "b": 2}, {"a": 2}, 2, ["b"]),  # that trains nothing yet
        ({"a": 8, "b": 2}, {"a": 8, "b": 2}, 2, ["b"]),
        ({"a": 8}, {"a": 8}, 2, ["a"]),  # and six are begun again
        ({"a": 2, "b": 1}, {"a": 2, "b": 1}, 1, ["b"]),
        ({"a": 2, "b": 1}, {"a": 2, "b": 1}, 3, ["a", "b"]),
        ({"a": 2}, {"a": 2}, 0, []),
        ({"a": 2}, {"a": 2}, -1, []),
    ],
)
def test_runs_are_given_back_with_as_few_lanes_too_many_as_can_be(
    sizes: dict[str, int], up: dict[str, int], excess: int, chosen: list[str]
) -> None:
    plans = {name: RunPlan(shape="s", resources=Resources(), lanes=size) for name, size in sizes.items()}
    assert choose_returned_runs(plans, up, excess) == chosen


def test_others_are_named_with_what_they_have() -> None:
    claims = [claim_of(1, lanes=3), claim_of(2, lanes=1), *(claim_of(3 + n, lanes=5 + n) for n in range(3))]
    assert describe_others(claims[:1], 1) == ""
    assert describe_others(claims[:2], 1) == "s2 has 1 lane (pid 1 on h)"
    assert describe_others(claims, 1).endswith("s3 has 5 lanes (pid 1 on h), 1 more sweeps wait or train")
