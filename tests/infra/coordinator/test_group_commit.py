"""Calls that wait at once share a commit, and lose nothing by it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError

from infra.coordinator.core import Coordinator
from infra.coordinator.messages import AttemptResult, EpochReport, LaneWork
from infra.coordinator.shell import actor as actor_module
from infra.coordinator.shell import durable_core
from infra.coordinator.shell.actor import CoordinatorActor
from infra.coordinator.shell.group_commit import GroupCommit, PendingCall
from infra.coordinator.shell.status import ActorSettings
from infra.errors import FencedError, LedgerUnavailable
from infra.ledger import views
from infra.ledger.batch import WriteBatch
from infra.ledger.liveness import describe_this_process
from infra.ledger.store import Ledger
from tests.infra.conftest import GOAL, Bench, family, hello, score, sweep

LANES, TRIALS = 8, 60
WRONG: dict[str, type[BaseException]] = {"defect": ValueError, "exit": SystemExit}


class Desk:
    """Answers a call with its name and remembers who came together; waits where it is held up."""

    def __init__(self) -> None:
        self.groups: list[list[str]] = []
        self.open, self.busy = threading.Event(), threading.Event()
        self.turns = GroupCommit(self.answer_all)

    def answer_all(self, group: Sequence[PendingCall[str]]) -> None:
        self.busy.set()
        assert self.open.wait(10)
        self.groups.append([asked.event for asked in group])
        for asked in group:
            if asked.event in WRONG:
                raise WRONG[asked.event]("told to")
            asked.answer = asked.event.upper()


def queue_calls(desk: Desk, pool: ThreadPoolExecutor, *events: str) -> list[Future[Any]]:
    """Calls that stand in line in this order behind the first, which is being answered."""
    first = pool.submit(desk.turns.call, "first")
    assert desk.busy.wait(10)
    behind = []
    for number, event in enumerate(events, start=1):
        behind.append(pool.submit(desk.turns.call, event))
        until(lambda number=number: len(desk.turns._waiting) == number)  # type: ignore[misc]
    return [first, *behind]


def until(true: Callable[[], bool]) -> None:
    """Waits for it, at most ten seconds."""
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_calls_that_wait_together_are_answered_as_one_group() -> None:
    desk = Desk()
    with ThreadPoolExecutor(4) as pool:
        calls = queue_calls(desk, pool, "a", "b", "c")
        desk.open.set()
        assert [call.result(10) for call in calls] == ["FIRST", "A", "B", "C"]
    assert desk.groups == [["first"], ["a", "b", "c"]]


@pytest.mark.parametrize("wrong", WRONG)
def test_group_failure_reaches_each_of_its_calls_and_no_later_one(wrong: str) -> None:
    desk = Desk()
    with ThreadPoolExecutor(4) as pool:
        first, *calls = queue_calls(desk, pool, "a", wrong, "c")
        desk.open.set()
        assert first.result(10) == "FIRST"
        for call in calls:
            with pytest.raises(WRONG[wrong], match="told to"):
                call.result(10)
    assert desk.turns.call("later") == "LATER"


def test_turn_between_groups_is_refused_while_one_is_answered() -> None:
    desk = Desk()
    with ThreadPoolExecutor(1) as pool:
        (first,) = queue_calls(desk, pool)
        with desk.turns.exclusive_access(0.01) as mine:
            assert not mine
        desk.open.set()
        assert first.result(10) == "FIRST"
    with desk.turns.exclusive_access(0.01) as mine:
        assert mine


def test_events_of_one_group_are_one_batch(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    coordinator = bench.begin(sweep(family(trials=4)))
    coordinator.prefetch_trials()
    shaky = Shaky(0)
    monkeypatch.setattr(Ledger, "commit", lambda *arguments: shaky(*arguments))
    with coordinator.batch_events():
        for number in range(3):
            coordinator.register_lane(hello(f"lane-{number}", pid=number))
            assert coordinator.next_attempts(hello(f"lane-{number}", pid=number)).attempts
        assert shaky.batches == 0
    assert shaky.batches == 1
    assert len(views.attempts(bench.ledger, bench.sweep_id)) == 3
    coordinator.prefetch_trials()
    assert shaky.batches == 2


class Shaky:
    """`Ledger.commit` that refuses every so many batches, in turn before and after they are written."""

    def __init__(self, every: int) -> None:
        self._commit, self._every, self.batches, self.refused = Ledger.commit, every, 0, 0

    def __call__(self, ledger: Ledger, sweep_id: int, epoch: int, batch: WriteBatch) -> None:
        self.batches += 1
        wrong = bool(self._every) and self.batches % self._every == 0
        self.refused += wrong
        if not (wrong and self.refused % 2):
            self._commit(ledger, sweep_id, epoch, batch)
        if wrong:
            raise LedgerUnavailable("the ledger must take writes", "told to")


def make_actor(bench: Bench, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> CoordinatorActor:
    """The actor's own code in this process, on a sweep of the bench."""
    spec = sweep(family(trials=TRIALS, pruner={"name": "asha"}))
    bench.sweep_id = bench.ledger.create_sweep(spec, fingerprint="f", facts={}, at=time.time())
    me = describe_this_process()
    bench.ledger.claim(bench.sweep_id, me, lambda owner: True)
    context = SimpleNamespace(was_current_actor_reconstructed=False)
    monkeypatch.setattr(actor_module, "ray", SimpleNamespace(get_runtime_context=lambda: context))
    monkeypatch.setattr(durable_core, "LEDGER_RETRY_S", 0.001)
    settings = ActorSettings(
        ledger_url=bench.url, sweep_id=bench.sweep_id, token=me.token, role="search", lanes=LANES,
        resources={"noop": spec.families[0].resources}, storage=str(bench.folder), **changes,
    )  # fmt: skip
    return CoordinatorActor(settings)


@contextmanager
def run_actor(bench: Bench, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Iterator[CoordinatorActor]:
    """An actor whose loops end with the block."""
    before = set(threading.enumerate())
    actor = make_actor(bench, monkeypatch, **changes)
    try:
        yield actor
    finally:
        loops = {thread for thread in set(threading.enumerate()) - before if "ThreadPool" not in thread.name}
        actor._core.failure = RuntimeError("the test is over")
        actor._settle_due.set()
        for loop in loops:
            loop.join(10)
        actor._core.close()


def lane(actor: CoordinatorActor, number: int) -> list[str]:
    """Pulls attempts to the end of the sweep; those that it saw through."""
    me, ended, made = hello(f"lane-{number}", pid=100 + number), None, []
    actor.register_lane(me)
    while not (work := actor.next_attempts(me, ended)).leave:
        ended = train_attempt(actor, me, work)
        made += [ended.attempt] if ended else []
        time.sleep(min(work.wait_s, 0.01))
    return made


def train_attempt(actor: CoordinatorActor, me: Any, work: LaneWork) -> AttemptResult | None:
    """One attempt of four reports, each of which decides."""
    for assignment in work.attempts:
        for epoch in range(1, 5):
            value = score(dict(assignment.params), epoch)
            report = EpochReport(epoch=epoch, metrics={GOAL: value}, at=time.time())
            if not actor.decide(me, assignment.attempt, [report]):
                return AttemptResult(attempt=assignment.attempt, outcome="pruned", epochs=epoch)
        return AttemptResult(
            attempt=assignment.attempt, outcome="complete", objective=(value,), epoch=4, epochs=4
        )
    return None


@pytest.mark.parametrize("every", [0, 7])
def test_coordinator_with_many_lanes_at_once_loses_no_report(
    every: int, any_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the ledger refuses batches, each of several lanes' calls: all are told, each once."""
    shaky = Shaky(every)
    monkeypatch.setattr(Ledger, "commit", lambda *arguments: shaky(*arguments))
    with run_actor(any_bench, monkeypatch) as actor, ThreadPoolExecutor(LANES) as pool:
        made = [call.result(120) for call in [pool.submit(lane, actor, n) for n in range(LANES)]]
        until(lambda: actor.status().state == "finished")
    trials = views.trials(any_bench.ledger, any_bench.sweep_id)
    assert len(trials) == TRIALS
    assert {trial.state for trial in trials} == {"complete", "pruned"}
    assert {trial.attempts for trial in trials} == {1}
    assert sorted(attempt for mine in made for attempt in mine) == sorted(
        f"{any_bench.sweep_id}-search-noop-{number}-1" for number in range(TRIALS)
    )
    events = views.events(any_bench.ledger, any_bench.sweep_id)
    ends = [event.number for event in events if event.kind == "ended"]
    assert sorted(ends) == list(range(TRIALS))
    told = [(event.number, event.payload["epoch"]) for event in events if event.kind == "reported"]
    assert len(told) == len(set(told))
    assert shaky.refused >= (5 if every else 0)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_row_that_the_ledger_refuses_ends_the_coordinator_without_a_second_try(
    any_bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second attempt of one id is a defect: what waits for the ledger's return would wait ten minutes."""
    commits = Shaky(0)

    def write_twice(ledger: Ledger, sweep_id: int, epoch: int, batch: WriteBatch) -> None:
        commits(ledger, sweep_id, epoch, batch)
        if batch.attempts:
            commits(ledger, sweep_id, epoch, batch)

    with run_actor(any_bench, monkeypatch) as actor:
        me = hello()
        actor.register_lane(me)
        monkeypatch.setattr(Ledger, "commit", write_twice)
        with pytest.raises(IntegrityError):
            while not actor.next_attempts(me, None).attempts:
                time.sleep(0.01)
        failure = actor.status().failure
    assert "IntegrityError" in str(failure)


def test_actor_that_waits_leaves_the_sweep_alone_until_it_takes_over(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has the sweep writes on; a lane that is up is counted, and answered later."""
    with run_actor(bench, monkeypatch, waits=True) as actor, ThreadPoolExecutor(1) as pool:
        me = hello("lane-0", pid=7)
        other = Coordinator(
            bench.ledger,
            bench.sweep_id,
            epoch=bench.ledger.raise_epoch(bench.sweep_id, actor._settings.token),
        )
        registered = pool.submit(actor.register_lane, me)
        until(lambda: actor.status().waiting_lanes == 1)
        assert actor.status().waits
        other.register_lane(hello("ahead"))
        (trained,) = other.next_attempts(hello("ahead")).attempts
        assert not registered.done()
        actor.take_over(False)
        registered.result(10)
        standing = actor.status()
        assert (standing.waits, standing.lanes, standing.state) == (False, 1, "running")
        actor.take_over(True)  # said again: it has the sweep, and its lane with it
        assert actor.status().lanes == 1
        with pytest.raises(FencedError):
            other.heartbeat(hello("ahead"), trained.attempt, [EpochReport(epoch=1, metrics={}, at=0.0)])
        (again,) = actor.next_attempts(me).attempts
        assert (again.number, again.ordinal) == (trained.number, 2)
