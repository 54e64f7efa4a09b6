"""Lanes with several attempts at once: stepped by hand, and under any order of events."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from infra.coordinator.core import Coordinator
from infra.coordinator.messages import (
    Assignment,
    AttemptResult,
    EpochReport,
    LaneHandshake,
    LaneWork,
    StackChoice,
    StackRequest,
)
from infra.coordinator.policy import MAX_FAILURES
from infra.ledger import views
from infra.ledger.batch import WriteBatch
from infra.ledger.rows import TrialRow
from infra.spec import FamilySpec, derive_seed
from search_spaces.space import Space
from tests.infra.conftest import GOAL, SPACE, Bench, family, hello, score, sweep
from trainers.stacking.structure import NUMBERS
from trainers.types import Params

WIDE = Space.from_mapping({**SPACE, "hidden": {"type": "categorical", "choices": [8, 16, 32]}}).to_json()
EPOCHS = 4


def structure_of(_family: FamilySpec, params: Params) -> str:
    return json.dumps({name: value for name, value in params.items() if name not in NUMBERS})


def take_over(bench: Bench, **options: object) -> Coordinator:
    made = bench.take_over(**options)  # type: ignore[arg-type]
    made._desk._structure_of = structure_of
    return made


def begin(bench: Bench, *families: FamilySpec) -> Coordinator:
    made = bench.begin(sweep(*families))
    made._desk._structure_of = structure_of
    return made


def stacked(name: str = "noop", **changes: object) -> FamilySpec:
    defaults = {"stack": 4, "sampler": {"name": "random"}, "pruner": {"name": "none"}, "space": WIDE}
    return family(name, **{**defaults, **changes})


def complete(work: Assignment) -> AttemptResult:
    value = score(dict(work.params), EPOCHS)
    return AttemptResult(
        attempt=work.attempt, outcome="complete", objective=(value,), epoch=EPOCHS, epochs=EPOCHS,
        metrics={GOAL: value},
    )  # fmt: skip


def fill(
    coordinator: Coordinator,
    me: LaneHandshake,
    held: dict[str, Assignment],
    places: int,
    ended: tuple[AttemptResult, ...] = (),
) -> LaneWork:
    """Asks for as many members beside those that are held as there are places for."""
    first = next(iter(held.values()))
    for one in ended:
        held.pop(one.attempt)
    request = StackRequest(
        family=first.family, structure=first.structure or "", holding=frozenset(held),
        limit=max(0, places - len(held)),
    )  # fmt: skip
    work = coordinator.refill_stack(me, request, ended=ended)
    held |= {one.attempt: one for one in work.attempts}
    return work


def pull(coordinator: Coordinator, me: LaneHandshake, places: int = 4) -> dict[str, Assignment]:
    """A lane with nothing pulls one attempt, and fills its stack."""
    held = {one.attempt: one for one in coordinator.next_attempts(me).attempts}
    if held and next(iter(held.values())).structure is not None:
        fill(coordinator, me, held, places)
    return held


def run_to_end(coordinator: Coordinator, me: LaneHandshake, places: int = 4) -> list[list[int]]:
    """One lane trains stacks until it may leave; the numbers that each stack began with."""
    coordinator.register_lane(me)
    stacks = []
    while held := pull(coordinator, me, places):
        stacks.append([one.number for one in held.values()])
        while held:
            for epoch in range(1, EPOCHS + 1):
                deciding = {
                    name: report(coordinator, one, epoch)
                    for name, one in held.items()
                    if epoch in one.deciding
                }
                go_on = coordinator.decide_stack(me, deciding)
                held = {name: one for name, one in held.items() if name not in deciding or name in go_on}
            if not held:
                break
            if next(iter(held.values())).structure is None:
                (one,) = held.values()
                coordinator.next_attempts(me, ended=complete(one), limit=0)
                break
            fill(coordinator, me, held, places, tuple(complete(one) for one in held.values()))
    coordinator.tick()
    return stacks


def report(coordinator: Coordinator, one: Assignment, epoch: int) -> list[EpochReport]:
    value = score(dict(one.params), epoch)
    return [EpochReport(epoch=epoch, metrics={GOAL: value}, at=coordinator._clock())]


def rows(bench: Bench) -> list[tuple[object, ...]]:
    trials = views.trials(bench.ledger, bench.sweep_id)
    return [(t.family, t.number, t.state, json.dumps(t.params), tuple(t.objective or ())) for t in trials]


ONE_STRUCTURE = {"learning_rate": SPACE["learning_rate"]}


@pytest.mark.parametrize("why", ["left out", "leaving", "dismissed"])
def test_stack_on_a_lane_that_is_to_leave_gets_no_more_members(bench: Bench, why: str) -> None:
    lane = replace(hello("run-1-0"), facts={"node": "n1"})
    coordinator = begin(bench, stacked(space=Space.from_mapping(ONE_STRUCTURE).to_json()))
    coordinator.register_lane(lane)
    (first,) = coordinator.next_attempts(lane).attempts
    second = fill(coordinator, lane, {first.attempt: first}, places=2)
    assert len(second.attempts) == 1
    sick = coordinator.sick
    tell = {"left out": sick.leave_out, "leaving": sick.evacuate, "dismissed": sick.dismiss}[why]
    tell(["run-1" if why == "dismissed" else "n1"])
    assert fill(coordinator, lane, {first.attempt: first}, places=4) == second  # told again, and no more


def test_attempt_says_how_many_of_its_family_are_still_to_be_trained(any_bench: Bench) -> None:
    coordinator = begin(any_bench, stacked(trials=5), stacked("other", trials=3))
    me = hello()
    coordinator.register_lane(me)
    (first,) = coordinator.next_attempts(me).attempts
    total = {"noop": 5, "other": 3}[first.family]
    assert first.companions == total
    (second,) = coordinator.next_attempts(me, ended=complete(first)).attempts
    assert second.companions == {"noop": 5, "other": 3}[second.family] - (second.family == first.family)


def test_lane_with_places_gets_trials_of_one_structure(bench: Bench) -> None:
    coordinator = begin(bench, stacked(trials=12))
    run_to_end(coordinator, hello())
    trials = views.trials(bench.ledger, bench.sweep_id)
    assert [t.state for t in trials] == ["complete"] * 12
    widths = [{t.params["hidden"] for t in trials[first : first + 4]} for first in (0, 4, 8)]
    assert [len(width) for width in widths] == [1, 1, 1]
    assert len({t.params["learning_rate"] for t in trials}) == 12
    assert coordinator.state == "finished"


@pytest.mark.parametrize("stack", ["off", None])
def test_stack_switched_off_takes_the_points_of_the_sequence_in_order(
    bench: Bench, stack: Literal["off"] | None
) -> None:
    """A sweep of before there were stacks has no such key, and goes on as it began."""
    coordinator = begin(bench, stacked(stack=stack, sampler={"name": "qmc"}, trials=6))
    run_to_end_alone(coordinator)
    points = Space.from_json(WIDE).sobol(6, derive_seed(0, "noop", "sobol"))
    assert [t.params for t in views.trials(bench.ledger, bench.sweep_id)] == points
    assert len({point["hidden"] for point in points}) > 1


@pytest.mark.parametrize("sampler", ["qmc", "random", "tpe", "grid"])
def test_trials_of_a_block_share_a_structure_for_every_sampler(bench: Bench, sampler: str) -> None:
    space = Space.from_mapping({
        "learning_rate": {"type": "float", "low": 1e-3, "high": 1.0, "log": True, "points": 4},
        "hidden": {"type": "categorical", "choices": [8, 16, 32]},
    }).to_json()  # fmt: skip
    run_to_end(begin(bench, stacked(sampler={"name": sampler}, space=space, trials=12)), hello())
    trials = views.trials(bench.ledger, bench.sweep_id)
    assert all(len({t.params["hidden"] for t in trials[at : at + 4]}) == 1 for at in (0, 4, 8))
    assert all(len({t.params["learning_rate"] for t in trials[at : at + 4]}) == 4 for at in (0, 4, 8))


def run_to_end_alone(coordinator: Coordinator) -> list[list[int]]:
    me, stacks = hello(), []
    coordinator.register_lane(me)
    while found := coordinator.next_attempts(me).attempts:
        assert [one.structure for one in found] == [None]
        stacks.append([one.number for one in found])
        coordinator.next_attempts(me, ended=complete(found[0]), limit=0)
        if len(stacks) > 20:
            break
    return stacks


@pytest.mark.parametrize("pruner", ["none", "asha", "hyperband"])
@pytest.mark.parametrize("sampler", ["random", "qmc", "tpe"])
def test_table_does_not_depend_on_how_many_are_stacked(tmp_path: Path, sampler: str, pruner: str) -> None:
    """What a lane chooses by measuring changes no trial, and neither does a driver that dies in between."""
    tables = []
    for places in (1, 3, 4):
        other = Bench(tmp_path / str(places))
        spec = stacked(trials=14, sampler={"name": sampler}, pruner={"name": pruner})
        run_to_end(begin(other, spec), hello(), places)
        tables.append(rows(other))
        other.ledger.close()
    assert tables[0] == tables[1] == tables[2]
    assert any(row[2] == "pruned" for row in tables[0]) or pruner == "none"


def test_lost_answer_gives_the_same_members_again(bench: Bench) -> None:
    coordinator = begin(bench, stacked())
    me = hello()
    coordinator.register_lane(me)
    (first,) = coordinator.next_attempts(me).attempts
    request = StackRequest(
        family="noop", structure=str(first.structure), holding=frozenset({first.attempt}), limit=3
    )
    found = coordinator.refill_stack(me, request)
    assert len(found.attempts) == 3
    assert coordinator.refill_stack(me, request) == found
    assert coordinator.running == 4


def test_death_of_a_stack_charges_nobody_and_halves_it(bench: Bench) -> None:
    """Which member ended the lane is not known: a poisonous one ends alone, and no other fails for it."""
    coordinator = begin(bench, stacked(trials=4))
    sizes = []
    for pid in range(100, 140):
        me = hello(pid=pid)
        coordinator.register_lane(me)
        held = pull(coordinator, me)
        while held and not any(one.number == 2 for one in held.values()):
            for one in list(held.values()):
                coordinator.next_attempts(me, ended=complete(one), limit=0)
            held = pull(coordinator, me)
        if not held:
            break
        sizes.append(len(held))
        coordinator.tick(alive=lambda lane: False)
    trials = views.trials(bench.ledger, bench.sweep_id)
    assert [t.state for t in trials] == ["complete", "complete", "failed", "complete"]
    assert sizes[0] == 4
    assert sizes[-3:] == [1, 1, 1]
    assert [t.failures for t in trials] == [0, 0, MAX_FAILURES, 0]


def test_seconds_of_a_trial_are_its_share_of_the_stack(bench: Bench) -> None:
    coordinator = begin(bench, stacked(trials=4))
    me = hello()
    coordinator.register_lane(me)
    held = pull(coordinator, me)
    bench.clock.now += 8
    coordinator._budget.update(bench.clock())
    fill(coordinator, me, held, 4, tuple(complete(one) for one in held.values()))
    trials = views.trials(bench.ledger, bench.sweep_id)
    assert [t.seconds for t in trials] == [2.0] * 4
    assert coordinator._budget.usage.used["cpu_s"] == pytest.approx(8.0)


def test_families_take_turns_by_blocks(bench: Bench) -> None:
    """A stack does not grow for ever while another family waits."""
    plain = Space.from_mapping(SPACE).to_json()
    coordinator = begin(bench, stacked("one", trials=12, space=plain), stacked("two", trials=12, space=plain))
    run_to_end(coordinator, hello(), 2)
    begun = [e for e in views.events(bench.ledger, bench.sweep_id) if e.kind == "started"]
    ahead = Counter[str]()
    for event in begun:
        ahead[str(event.family)] += 1
        assert abs(ahead["one"] - ahead["two"]) <= 6


@pytest.mark.parametrize("sampler", ["qmc", "random", "tpe"])
def test_block_that_a_small_budget_cut_off_is_completed_when_the_sweep_is_extended(
    bench: Bench, sampler: str
) -> None:
    coordinator = begin(bench, stacked(trials=6, sampler={"name": sampler}))
    run_to_end(coordinator, hello())
    bench.ledger.add_request(bench.sweep_id, "extend", {"trials": 2}, at=bench.clock())
    coordinator = take_over(bench, token="again")
    coordinator.tick()
    run_to_end(coordinator, hello(pid=101))
    trials = views.trials(bench.ledger, bench.sweep_id)
    assert [len({t.params["hidden"] for t in trials[at : at + 4]}) for at in (0, 4)] == [1, 1]
    assert len(trials) == 8


def test_seeds_of_a_confirmed_configuration_are_one_stack(bench: Bench) -> None:
    bench.sweep_id = bench.ledger.create_sweep(sweep(stacked(stack=8)), fingerprint="f", facts={}, at=1.0)
    batch = WriteBatch()
    for number in range(6):
        params = {"learning_rate": 0.01, "optimizer": "adam", "hidden": [8, 32][number // 3]}
        batch.add_event("asked", 1.0, {}, TrialRow(
            role="confirm", family="noop", number=number, params=params, seed=number % 3, created_at=number
        ))  # fmt: skip
    bench.ledger.add_events(bench.sweep_id, batch)
    coordinator = take_over(bench, role="confirm")
    assert run_to_end(coordinator, hello(), 8) == [[0, 1, 2], [3, 4, 5]]
    trials = views.trials(bench.ledger, bench.sweep_id, role="confirm")
    assert {t.state for t in trials} == {"complete"}


def test_choice_of_a_lane_is_kept_for_whoever_looks(bench: Bench) -> None:
    coordinator = begin(bench, stacked(trials=4))
    coordinator.register_lane(hello())
    for width in (64, 32):
        choice = StackChoice(family="noop", structure="s", width=width, gain=8.0, reason="")
        coordinator.record_stack_choice(hello(), choice)
    facts = views.sweep_by_id(bench.ledger, bench.sweep_id).facts
    assert facts["stacks"] == {"noop": {"s": {"width": 32, "gain": 8.0, "reason": ""}}}


class StackMachine(RuleBasedStateMachine):
    """Two lanes train stacks of a family with ASHA and of one without a pruner."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.bench = Bench(Path(self._folder.name))
        self.coordinator = begin(
            self.bench,
            stacked("pruned", trials=7, pruner={"name": "asha", "min_epochs": 1, "reduction": 2}, stack=3),
            stacked("whole", trials=5, sampler={"name": "tpe"}, stack="auto"),
        )
        self.lanes: dict[str, tuple[LaneHandshake, dict[str, Assignment]]] = {}
        self.zombies: list[tuple[LaneHandshake, dict[str, Assignment]]] = []
        self.epochs: Counter[str] = Counter()
        self.pids = iter(range(100, 100_000))
        self.over: dict[tuple[str, int], tuple[object, ...]] = {}

    def teardown(self) -> None:
        """From wherever it stands the sweep comes to its end."""
        self.coordinator.tick(alive=lambda lane: False)
        if self.coordinator.state == "running":
            for _ in range(20):
                run_to_end(self.coordinator, hello("last", next(self.pids)))
        assert all(t.has_ended for t in views.trials(self.bench.ledger, self.bench.sweep_id))
        assert self.coordinator.state in {"finished", "failed"}
        self.each_trial_ends_once()
        self.bench.ledger.close()
        self._folder.cleanup()

    @rule(slot=st.sampled_from(["lane-0", "lane-1"]))
    def enter(self, slot: str) -> None:
        former = self.lanes.pop(slot, None)
        if former is not None:
            self.zombies.append(former)
        me = hello(slot, next(self.pids))
        self.coordinator.register_lane(me)
        self.lanes[slot] = (me, {})

    @precondition(lambda self: self.lanes)
    @rule(data=st.data(), places=st.integers(1, 5), lost=st.booleans())
    def grow(self, data: st.DataObject, places: int, lost: bool) -> None:
        """A lane without work pulls; one with a stack fills its places, maybe twice."""
        me, held = self.lanes[data.draw(st.sampled_from(sorted(self.lanes)))]
        if not held:
            work = self.coordinator.next_attempts(me)
            if lost:
                assert self.coordinator.next_attempts(me) == work
            held |= {one.attempt: one for one in work.attempts}
        if not held:
            self.lanes = {slot: lane for slot, lane in self.lanes.items() if lane[0] is not me}
        elif next(iter(held.values())).structure is not None:
            before = dict(held)
            work = fill(self.coordinator, me, held, places)
            if lost:
                assert fill(self.coordinator, me, before, places) == work

    @precondition(lambda self: any(held for _, held in self.lanes.values()))
    @rule(data=st.data(), outcome=st.sampled_from(["complete", "error", "not-finite", "stopped"]))
    def end_some(self, data: st.DataObject, outcome: str) -> None:
        """Some members of a stack end, in one message with the refill."""
        me, held = self._draw(data)
        names = data.draw(st.lists(st.sampled_from(sorted(held)), min_size=1, unique=True))
        ended = tuple(self._result(held[name], outcome) for name in names)
        if next(iter(held.values())).structure is None:
            self.coordinator.next_attempts(me, ended=ended[0], limit=0)
            held.clear()
            return
        fill(self.coordinator, me, held, 3, ended)

    def _result(self, one: Assignment, outcome: str) -> AttemptResult:
        if outcome == "complete":
            return complete(one)
        if outcome == "stopped":
            return AttemptResult(attempt=one.attempt, outcome="stopped")
        return AttemptResult(attempt=one.attempt, outcome="failed", reason=outcome, detail="told to")

    def _draw(self, data: st.DataObject) -> tuple[LaneHandshake, dict[str, Assignment]]:
        return self.lanes[data.draw(st.sampled_from(sorted(s for s, lane in self.lanes.items() if lane[1])))]

    @precondition(lambda self: any(held for _, held in self.lanes.values()))
    @rule(data=st.data())
    def train(self, data: st.DataObject) -> None:
        """A stack trains one epoch and reports for all its members at once."""
        me, held = self._draw(data)
        self.epochs.update(held)
        told = {
            name: report(self.coordinator, one, min(self.epochs[name], EPOCHS)) for name, one in held.items()
        }
        go_on = self.coordinator.decide_stack(me, told)
        void = self.coordinator.heartbeat_stack(me, dict.fromkeys(held, ())).void
        assert go_on == set(held) - void
        for name in set(held) - go_on:
            del held[name]

    @precondition(lambda self: self.zombies)
    @rule(data=st.data())
    def late(self, data: st.DataObject) -> None:
        """A process that was cut off still speaks: nothing of it counts."""
        me, held = data.draw(st.sampled_from(self.zombies))
        before = rows(self.bench)
        told = {name: report(self.coordinator, one, EPOCHS) for name, one in held.items()}
        current = self.lanes.get(me.lane)
        if current is None:
            return
        assert self.coordinator.decide_stack(me, told) == frozenset()
        assert self.coordinator.heartbeat_stack(me, told).fenced
        request = StackRequest(family="pruned", structure="", holding=frozenset(held), limit=2)
        ended = [complete(one) for one in held.values()]
        assert self.coordinator.refill_stack(me, request, ended=ended).fenced
        assert rows(self.bench)[: len(before)] == before or len(rows(self.bench)) > len(before)

    @precondition(lambda self: self.lanes)
    @rule(data=st.data(), stalled=st.booleans())
    def die(self, data: st.DataObject, stalled: bool) -> None:
        """A lane's process ends; perhaps it says of one member first that it stood still."""
        slot = data.draw(st.sampled_from(sorted(self.lanes)))
        me, held = self.lanes.pop(slot)
        if stalled and held:
            ended = AttemptResult(attempt=next(iter(held)), outcome="failed", reason="timeout", detail="hung")
            self.coordinator.report_attempt_failure(ended)
        self.coordinator.tick(alive=lambda other: other.pid != me.pid)

    @rule()
    def coordinator_dies(self) -> None:
        self.coordinator = take_over(self.bench, same_driver=True)

    @rule()
    def driver_dies(self) -> None:
        self.coordinator = take_over(self.bench, token=f"driver-{next(self.pids)}")
        self.lanes, self.zombies = {}, []

    @precondition(lambda self: self.coordinator.state == "running")
    @rule()
    def stop(self) -> None:
        """Lanes are told by the heartbeat, members leave, the same command goes on."""
        self.bench.ledger.add_request(self.bench.sweep_id, "stop", {}, at=self.bench.clock())
        self.coordinator.tick()
        for me, held in self.lanes.values():
            assert self.coordinator.heartbeat_stack(me, dict.fromkeys(held, ())).stop
            if held:
                ended = tuple(self._result(one, "stopped") for one in held.values())
                if next(iter(held.values())).structure is not None:
                    assert fill(self.coordinator, me, held, 3, ended).attempts == ()
        self.coordinator.conclude_stop()
        assert self.coordinator.running == 0
        self.driver_dies()

    @invariant()
    def each_trial_ends_once(self) -> None:
        """And stays as it ended; what runs beside it on its lane has its structure."""
        ledger, sweep_id = self.bench.ledger, self.bench.sweep_id
        trials = {(t.family, t.number): t for t in views.trials(ledger, sweep_id)}
        attempts = views.attempts(ledger, sweep_id)
        open_attempts = [a for a in attempts if a.ended_at is None]
        running = Counter((a.family, a.number) for a in open_attempts)
        assert running == Counter(key for key, trial in trials.items() if trial.state == "running")
        assert Counter((a.family, a.number) for a in attempts) == {
            key: trial.attempts for key, trial in trials.items() if trial.attempts
        }
        events = views.events(ledger, sweep_id)
        ends = Counter((event.family, event.number) for event in events if event.kind == "ended")
        assert ends == Counter(key for key, trial in trials.items() if trial.has_ended)
        told = Counter((e.family, e.number, e.payload["epoch"]) for e in events if e.kind == "reported")
        assert all(count == 1 for count in told.values())
        for lane in {a.lane for a in open_attempts}:
            beside = [trials[a.family, a.number] for a in open_attempts if a.lane == lane]
            assert len({(t.family, t.params["hidden"]) for t in beside}) == 1
        for key, trial in trials.items():
            assert trial.failures <= MAX_FAILURES
            if trial.has_ended:
                row = (trial.state, trial.attempts, trial.epochs, tuple(trial.objective or ()), trial.reason)
                assert self.over.setdefault(key, row) == row


TestStacks = StackMachine.TestCase
TestStacks.settings = settings(
    max_examples=12, stateful_step_count=25, deadline=None, derandomize=True,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
