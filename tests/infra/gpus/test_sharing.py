"""Lanes of a sweep come to share GPUs, and to share them less; events of the coordinator, stepped by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from infra.coordinator.core import Coordinator
from infra.coordinator.messages import AttemptResult, LaneHandshake, LaneWork
from infra.coordinator.placement import shape_name
from infra.gpus.deciding import GpuRoom
from infra.gpus.sharing import describe_facts
from infra.gpus.use import GpuUse
from infra.ledger import views
from infra.ledger.rows import OwnerRow, TrialRow
from infra.spec import Resources
from tests.infra.conftest import Bench, family, run_attempt, sweep
from tests.infra.gpus.fake_memory import GIB

WHOLE = Resources(gpus=1.0)
ROOM = GpuRoom(gpus=2, lanes=4)


def begin(
    bench: Bench,
    *,
    room: GpuRoom = ROOM,
    again: bool = False,
    same_driver: bool = False,
    trials: int = 40,
    pruner: str = "none",
) -> Coordinator:
    """A sweep of one family with `gpus: auto` on two GPUs."""
    spec = sweep(family(trials=trials, pruner={"name": pruner}, sampler={"name": "random"}))
    if not again:
        bench.sweep_id = bench.ledger.create_sweep(spec, fingerprint="f", facts={}, at=bench.clock())
    me = OwnerRow(epoch=0, token=bench.token, host="h", pid=1, pid_started_at=0.0)
    epoch, _ = bench.ledger.claim(bench.sweep_id, me, lambda owner: True)
    return Coordinator(
        bench.ledger, bench.sweep_id, epoch=epoch, lanes=2, clock=bench.clock, steady=bench.clock,
        resources={"noop": WHOLE}, gpu_rooms={"noop": room}, same_driver=same_driver,
    )  # fmt: skip


def lane(coordinator: Coordinator, name: str, gpus: float = 1.0, pid: int = 0) -> LaneHandshake:
    """A lane's process that has so many GPUs."""
    made = LaneHandshake(
        lane=name, shape=shape_name(replace(WHOLE, gpus=gpus)), host="h", pid=pid or abs(hash(name)),
        pid_started_at=1.0, facts={"gpus": gpus},
    )  # fmt: skip
    coordinator.register_lane(made)
    return made


def use(peak: float, lanes: int = 1, *, full: bool = False) -> GpuUse:
    return GpuUse(peak_bytes=int(peak * GIB), total_bytes=24 * GIB, lanes=lanes, full=full)


def end(coordinator: Coordinator, me: LaneHandshake, work: LaneWork, peak: float, lanes: int = 1) -> LaneWork:
    """The lane's attempt ends well, and it asks for the next."""
    ended = replace(run_attempt(coordinator, work, me), gpu=use(peak, lanes), seconds=30.0)
    return coordinator.next_attempts(me, ended=ended)


def fail_full(coordinator: Coordinator, me: LaneHandshake, work: LaneWork, lanes: int) -> LaneWork:
    """The lane's attempt fails since the GPU is full."""
    ended = AttemptResult(
        attempt=work.attempts[0].attempt, outcome="failed", reason="out-of-memory", detail="no room",
        gpu=use(2.0, lanes, full=True),
    )  # fmt: skip
    return coordinator.next_attempts(me, ended=ended)


def share(coordinator: Coordinator, peak: float = 3.1) -> LaneHandshake:
    """Two trials end, and a lane of the share that they allow begins."""
    first = lane(coordinator, "whole-0")
    work = end(coordinator, first, coordinator.next_attempts(first), peak)
    assert end(coordinator, first, work, 1.0).leave
    (shape,) = coordinator.demand
    return lane(coordinator, "shared-0", float(coordinator.demand[shape][0].gpus or 0.0))


def trial_of(bench: Bench, number: int) -> TrialRow:
    return views.trials(bench.ledger, bench.sweep_id)[number]


def test_lanes_come_to_share_gpus_after_two_trials_and_none_that_runs_is_ended(bench: Bench) -> None:
    coordinator = begin(bench)
    first, second = lane(coordinator, "a-0"), lane(coordinator, "b-0")
    under_way = coordinator.next_attempts(second)
    assert coordinator.needs.run_sizes == {"1x1cpu-1gpu": 1}
    work = end(coordinator, first, coordinator.next_attempts(first), 1.0)
    assert work.attempts
    assert {shape: r.gpus for shape, (r, _) in coordinator.demand.items()} == {"1x1cpu-1gpu": 1.0}
    assert end(coordinator, first, work, 3.1).leave  # its GPU comes free
    assert {shape: r.gpus for shape, (r, _) in coordinator.demand.items()} == {"1x1cpu-0.25gpu": 0.25}
    assert coordinator.needs.run_sizes == {"1x1cpu-1gpu": 1, "1x1cpu-0.25gpu": 4}
    assert not coordinator.heartbeat(second, under_way.attempts[0].attempt).stop
    assert coordinator.lanes_by_run == {"b": 1}
    why = "4 lanes a GPU, the largest trial so far took 3.1 GiB of 24.0 GiB"
    assert coordinator.needs.gpu_lanes == {"noop": why}
    assert end(coordinator, second, under_way, 1.0).leave
    assert views.events_of_kind(bench.ledger, bench.sweep_id, "gpu-lanes")[0].payload["lanes"] == 4


def test_larger_trial_makes_lanes_leave_between_trials_for_fewer(bench: Bench) -> None:
    coordinator = begin(bench)
    first = share(coordinator)
    second = lane(coordinator, "shared-1", 0.25)
    under_way = coordinator.next_attempts(second)
    assert end(coordinator, first, coordinator.next_attempts(first), 7.0, 4).leave
    assert list(coordinator.demand) == ["1x1cpu-0.5gpu"]
    assert end(coordinator, second, under_way, 1.0, 4).leave
    ends = [trial.state for trial in views.trials(bench.ledger, bench.sweep_id) if trial.has_ended]
    assert ends == ["complete"] * 4


def test_trial_that_found_a_shared_gpu_full_has_one_for_itself_once_and_uncharged(bench: Bench) -> None:
    coordinator = begin(bench)
    shared = share(coordinator)
    work = coordinator.next_attempts(shared)
    number = work.attempts[0].number
    assert fail_full(coordinator, shared, work, 4).leave
    assert {shape: count for shape, (_, count) in coordinator.demand.items()} == {
        "1x1cpu-1gpu": 1, "1x1cpu-0.5gpu": 37,
    }  # fmt: skip
    assert next(iter(coordinator.demand)) == "1x1cpu-1gpu"  # it is placed first
    assert (trial_of(bench, number).state, trial_of(bench, number).failures) == ("waiting", 0)
    assert "with 4 a GPU was full" in coordinator.needs.gpu_lanes["noop"]
    alone = lane(coordinator, "alone-0")
    work = coordinator.next_attempts(alone)
    assert work.attempts[0].number == number
    assert fail_full(coordinator, alone, work, 1).leave
    ended = trial_of(bench, number)
    assert (ended.state, ended.failures, ended.reason) == ("failed", 1, "out-of-memory: no room")
    outcomes = [a.outcome for a in views.attempts(bench.ledger, bench.sweep_id, "noop", number)]
    assert outcomes == ["gpu-full", "out-of-memory"]


def test_trial_that_had_one_for_itself_is_complete_and_lanes_stay_halved(bench: Bench) -> None:
    coordinator = begin(bench)
    shared = share(coordinator)
    work = coordinator.next_attempts(shared)
    fail_full(coordinator, shared, work, 4)
    alone = lane(coordinator, "alone-0")
    assert end(coordinator, alone, coordinator.next_attempts(alone), 2.0).leave
    assert trial_of(bench, work.attempts[0].number).state == "complete"
    assert list(coordinator.demand) == ["1x1cpu-0.5gpu"]


def test_configuration_alone_on_its_gpu_fails_by_itself(bench: Bench) -> None:
    coordinator = begin(bench)
    whole = lane(coordinator, "whole-0")
    work = coordinator.next_attempts(whole)
    fail_full(coordinator, whole, work, 1)
    assert trial_of(bench, work.attempts[0].number).state == "failed"


def test_message_that_comes_twice_changes_nothing_the_second_time(bench: Bench) -> None:
    coordinator = begin(bench)
    me = lane(coordinator, "whole-0")
    ended = replace(run_attempt(coordinator, coordinator.next_attempts(me), me), gpu=use(1.0))
    for _ in range(3):
        assert coordinator.next_attempts(me, ended=ended).attempts
    shared = list(coordinator.demand)
    assert shared == ["1x1cpu-1gpu"]


def test_trials_that_the_pruner_ended_have_shown_what_they_take(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator = begin(bench, pruner="asha")
    monkeypatch.setattr(coordinator._studies, "should_prune", lambda *_: True)
    me = lane(coordinator, "a-0")
    work = coordinator.next_attempts(me)
    for left in (False, True):
        ended = run_attempt(coordinator, work, me)
        assert ended.outcome == "pruned"
        work = coordinator.next_attempts(me, ended=replace(ended, gpu=use(3.1), seconds=30.0))
        assert work.leave is left
    assert list(coordinator.demand) == ["1x1cpu-0.25gpu"]


def test_sweep_that_is_carried_on_begins_with_what_it_knows(bench: Bench) -> None:
    share(begin(bench))
    again = begin(bench, again=True)
    assert list(again.demand) == ["1x1cpu-0.25gpu"]
    fewer = begin(bench, again=True, room=GpuRoom(gpus=2, lanes=2))
    assert list(fewer.demand) == ["1x1cpu-0.5gpu"]
    facts = views.sweep_by_id(bench.ledger, bench.sweep_id).facts
    assert describe_facts(facts)["noop"].startswith("2 lanes a GPU")


def test_coordinator_that_follows_another_keeps_what_lanes_were_begun_for(bench: Bench) -> None:
    share(begin(bench, trials=5))  # by now there are too few trials to begin so many lanes
    same = begin(bench, again=True, same_driver=True, trials=5)
    assert list(same.demand) == ["1x1cpu-0.5gpu"]


def test_larger_gpus_of_a_later_run_are_made_use_of(bench: Bench) -> None:
    share(begin(bench), 7.0)
    again = begin(bench, again=True)
    assert list(again.demand) == ["1x1cpu-0.5gpu"]
    me = lane(again, "more-0", 0.5)
    large = replace(use(1.0, 2), total_bytes=80 * GIB)
    ended = replace(run_attempt(again, again.next_attempts(me), me), gpu=large, seconds=30.0)
    again.next_attempts(me, ended=ended)
    assert list(again.demand) == ["1x1cpu-0.25gpu"]


@pytest.mark.parametrize(("gpus", "told"), [(1.0, {"1x1cpu-1gpu"}), (0.5, {"1x1cpu-0.5gpu"})])
def test_number_that_is_written_stays_whatever_trials_take(bench: Bench, gpus: float, told: set[str]) -> None:
    fixed = replace(WHOLE, gpus=gpus)
    spec = sweep(family(trials=9, resources=fixed, pruner={"name": "none"}, sampler={"name": "random"}))
    coordinator = bench.begin(spec)
    me = lane(coordinator, "a-0", gpus)
    work = coordinator.next_attempts(me)
    for _ in range(4):
        work = end(coordinator, me, work, 1.0)
    number = work.attempts[0].number
    fail_full(coordinator, me, work, 2)
    assert trial_of(bench, number).state == "failed"
    assert set(coordinator.demand) == told
    assert (coordinator.needs.run_sizes, coordinator.needs.gpu_lanes) == ({}, {})
    assert "gpu_lanes" not in views.sweep_by_id(bench.ledger, bench.sweep_id).facts


def test_runs_are_as_before_where_a_family_with_a_number_has_lanes_of_that_shape(bench: Bench) -> None:
    spec = sweep(family("free"), family("fixed", resources=WHOLE))
    bench.sweep_id = bench.ledger.create_sweep(spec, fingerprint="f", facts={}, at=bench.clock())
    me = OwnerRow(epoch=0, token=bench.token, host="h", pid=1, pid_started_at=0.0)
    epoch, _ = bench.ledger.claim(bench.sweep_id, me, lambda owner: True)
    coordinator = Coordinator(
        bench.ledger, bench.sweep_id, epoch=epoch, resources={"free": WHOLE, "fixed": WHOLE},
        gpu_rooms={"free": ROOM},
    )  # fmt: skip
    assert coordinator.needs.run_sizes == {}
    assert set(coordinator.needs.gpu_lanes) == {"free"}


def test_stacks_leave_trials_for_all_lanes_that_share_gpus(bench: Bench) -> None:
    coordinator = begin(bench, trials=40)
    assert coordinator.needs.fair_share(coordinator._standing.spec, "1x1cpu-1gpu") == 20
    share(coordinator)
    assert (
        coordinator.needs.fair_share(coordinator._standing.spec, "1x1cpu-0.25gpu") == 5
    )  # of 38, by eight lanes


def begin_two(bench: Bench, trials: int) -> Coordinator:
    """Two families that need the same, the first with so many trials."""
    kinds = {"sampler": {"name": "random"}, "pruner": {"name": "none"}}
    spec = sweep(family("a", trials=trials, **kinds), family("b", trials=30, **kinds))
    bench.sweep_id = bench.ledger.create_sweep(spec, fingerprint="f", facts={}, at=bench.clock())
    me = OwnerRow(epoch=0, token=bench.token, host="h", pid=1, pid_started_at=0.0)
    epoch, _ = bench.ledger.claim(bench.sweep_id, me, lambda owner: True)
    return Coordinator(
        bench.ledger, bench.sweep_id, epoch=epoch, resources=dict.fromkeys("ab", WHOLE),
        gpu_rooms=dict.fromkeys("ab", ROOM), clock=bench.clock, steady=bench.clock,
    )  # fmt: skip


def test_families_that_need_the_same_share_lanes_and_the_largest_decides(bench: Bench) -> None:
    coordinator = begin_two(bench, 30)
    first = lane(coordinator, "whole-0")
    work = coordinator.next_attempts(first)
    for peak in (1.0, 7.0, 1.0):  # of a, b, a
        work = end(coordinator, first, work, peak)
    assert list(coordinator.demand) == ["1x1cpu-1gpu"]  # b has shown it once
    assert "2 trials of each family" in coordinator.needs.gpu_lanes["a"]
    assert end(coordinator, first, work, 1.0).leave
    assert list(coordinator.demand) == ["1x1cpu-0.5gpu"]
    why = "2 lanes a GPU, the largest trial so far took 7.0 GiB of 24.0 GiB"
    assert coordinator.needs.gpu_lanes == dict.fromkeys("ab", why)
    (event,) = views.events_of_kind(bench.ledger, bench.sweep_id, "gpu-lanes")
    assert event.payload["families"] == ["a", "b"]


def test_family_without_trials_left_decides_nothing_any_more(bench: Bench) -> None:
    coordinator = begin_two(bench, 1)
    first = lane(coordinator, "whole-0")
    work = coordinator.next_attempts(first)
    for peak in (20.0, 1.0):  # all of a, and b
        work = end(coordinator, first, work, peak)
    assert end(coordinator, first, work, 1.0).leave
    assert list(coordinator.demand) == ["1x1cpu-0.25gpu"]


def test_gpu_hours_are_those_that_a_lane_holds(bench: Bench) -> None:
    coordinator = begin(bench)
    first, second = lane(coordinator, "a-0"), lane(coordinator, "b-0")
    coordinator.next_attempts(second)
    work = end(coordinator, first, coordinator.next_attempts(first), 1.0)
    assert end(coordinator, first, work, 1.0).leave
    coordinator.tick()
    before = coordinator._budget.usage.used["gpu_s"]
    bench.clock.now += 8.0
    coordinator.tick()
    assert coordinator._budget.usage.used["gpu_s"] - before == pytest.approx(8.0)


def test_short_trials_are_over_before_lanes_have_begun_anew(bench: Bench) -> None:
    coordinator = begin(bench)
    me = lane(coordinator, "a-0")
    work = coordinator.next_attempts(me)
    for _ in range(3):
        ended = replace(run_attempt(coordinator, work, me), gpu=use(1.0), seconds=2.0)
        work = coordinator.next_attempts(me, ended=ended)
        assert work.attempts
    assert end(coordinator, me, work, 1.0).leave  # it took half a minute, and 37 are left


def test_lane_that_holds_memory_is_told_of(bench: Bench) -> None:
    coordinator = begin(bench)
    me = lane(coordinator, "a-0")
    coordinator.note_held_memory(me, 2 * GIB)
    (event,) = views.events_of_kind(bench.ledger, bench.sweep_id, "gpu-held")
    assert event.payload == {"lane": "a-0", "host": "h", "held_bytes": 2 * GIB}
    assert coordinator.sick.count_by_node() == {}  # the trial's code, not its node
    coordinator.note_held_memory(replace(me, pid=9), 2 * GIB)  # one that is not the lane's any more
    assert len(views.events_of_kind(bench.ledger, bench.sweep_id, "gpu-held")) == 1
