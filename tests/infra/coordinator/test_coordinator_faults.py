"""A ledger that refuses, an answer that is lost, a driver that dies: at each write in turn.

One lane, TPE and ASHA, and one sweep in which everything happens that is ever written: taking over, asking,
starting, reporting, reports at which the pruner decides, ends of every kind, the death of a lane, and what
other commands ask: more trials, failed ones again, a stop after which the same command goes on. Whatever goes
wrong at whichever write, the end is that of a quiet run in every trial. `EVERY_WRITE` lets each statement
fail instead of each thirteenth.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import OperationalError

from infra.coordinator.core import Coordinator
from infra.coordinator.messages import AttemptResult, LaneHandshake, LaneWork
from infra.errors import LedgerUnavailable
from infra.ledger import views
from infra.ledger.batch import WriteBatch
from infra.ledger.rows import TrialRow
from infra.ledger.store import Ledger
from infra.spec import SweepSpec
from tests.infra.conftest import Bench, drive, family, hello, run_attempt, sweep
from tests.spread import EVERY_WRITE

WRITE_STRIDE, STATEMENT_STRIDE = (1, 1) if EVERY_WRITE else (6, 13)
WAYS = ["refused", "unanswered", "killed", "killed-after"]
COVERED = {
    "session", "asked", "started", "reported", "attempt-ended", "waiting", "ended", "grown", "retry",
    "concluded",
}  # fmt: skip


class DriverKilled(BaseException):
    """The driver's process is gone."""


@dataclass
class Saboteur:
    """Counts the ledger's writes and spoils one: `refused` and `killed` before it is made, `unanswered` and
    `killed-after` when it has been."""

    how: str = "not at all"
    at: int = -1
    writes: int = 0

    def over(self, commit: Callable[..., None]) -> Callable[..., None]:
        """The ledger's `commit`, spoiled."""

        def spoiled(ledger: Ledger, sweep_id: int, epoch: int, batch: WriteBatch) -> None:
            self.writes += 1
            now = self.writes == self.at
            if now and self.how in {"refused", "killed"}:
                self._break()
            commit(ledger, sweep_id, epoch, batch)
            if now:
                self._break()

        return spoiled

    def statements_of(self, ledger: Ledger) -> None:
        """Counts what changes the database instead, each commit too, in every kind of write: of batches, of
        owners, of requests."""
        event.listen(ledger.engine, "before_cursor_execute", self._statement)
        event.listen(ledger.engine, "commit", lambda connection: self._count_write())

    def _statement(self, connection: object, cursor: object, statement: str, *rest: object) -> None:
        if statement.startswith(("INSERT", "UPDATE", "DELETE", "BEGIN IMMEDIATE")):
            self._count_write()

    def _count_write(self) -> None:
        self.writes += 1
        if self.writes == self.at:
            raise OperationalError("told to", None, sqlite3.OperationalError("disk I/O error"))

    def _break(self) -> None:
        if self.how.startswith("killed"):
            raise DriverKilled
        raise LedgerUnavailable("the ledger must take writes", self.how)


class RetryingCoordinator:
    """What the actor does around the core: a call that the ledger refused is made again on a new core."""

    def __init__(self, bench: Bench, make: Callable[[], Coordinator]) -> None:
        self._bench = bench
        self._core = self._build(make)

    def _build(self, make: Callable[[], Coordinator]) -> Coordinator:
        while True:
            try:
                return make()
            except LedgerUnavailable:
                continue

    def _again(self) -> Coordinator:
        return self._bench.take_over(same_driver=True)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._core, name)
        return self._retry_call(name) if callable(found) and not name.startswith("_") else found

    def _retry_call(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            while True:
                try:
                    return getattr(self._core, name)(*arguments, **named)
                except LedgerUnavailable:
                    self._core = self._build(self._again)

        return call


def spec() -> SweepSpec:
    """Five trials, and one more on request: TPE decides some of them, and ASHA ends some."""
    return sweep(family(trials=5, sampler={"name": "tpe", "n_startup_trials": 2}))


def table(trials: list[TrialRow]) -> list[tuple[Any, ...]]:
    """What must be as in the quiet run."""
    return [
        (t.number, t.state, t.params, t.seed, t.epoch, t.epochs, t.objective, t.metrics, t.reason)
        for t in trials
    ]


def run(bench: Bench, begin: Callable[[], Coordinator], pid: int) -> None:
    """One driver after another, each with one lane, to the end of the sweep."""
    for token in ("driver-stopped", "driver-after"):
        coordinator: Any = RetryingCoordinator(bench, begin)
        _drive(bench, coordinator, hello(pid=pid))
        if coordinator.stopping:
            coordinator.conclude_stop()
        while not coordinator.stopping and _request_once(
            bench, coordinator, "extend", {"trials": 1}, "grown"
        ):
            _drive(bench, coordinator, hello(pid=pid))
        while not coordinator.stopping and _request_once(bench, coordinator, "retry", {}, "retry"):
            _drive(bench, coordinator, hello(pid=pid))
        coordinator.tick()
        if coordinator.state == "finished":
            return
        begin, pid = partial(bench.take_over, token=f"{token}-{pid}"), pid + 10
    raise AssertionError(f"the sweep is {coordinator.state}")


def _request_once(bench: Bench, coordinator: Any, kind: str, payload: dict[str, Any], seen: str) -> bool:
    """Asks once in the sweep's life what another command would ask; whether it was answered only now."""
    if any(e.kind == seen for e in views.events(bench.ledger, bench.sweep_id)):
        return False
    if not any(request.kind == kind for request in views.open_requests(bench.ledger, bench.sweep_id)):
        _insist(lambda: bench.ledger.add_request(bench.sweep_id, kind, payload, at=bench.clock()))
    coordinator.tick()
    return True


def _insist(call: Callable[[], Any]) -> None:
    try:
        call()
    except LedgerUnavailable:
        call()


def _drive(bench: Bench, coordinator: Any, me: LaneHandshake) -> None:
    coordinator.register_lane(me)
    ended = None
    while not (work := coordinator.next_attempts(me, ended=ended)).leave:
        ended = _train(bench, coordinator, work, me) if work.attempts else None


def _train(bench: Bench, coordinator: Any, work: LaneWork, me: LaneHandshake) -> AttemptResult | None:
    """Trial 2 fails until it was asked for again, trial 3 takes its lane's process with it the first time,
    in trial 4 another command stops the sweep, once."""
    (assignment,) = work.attempts
    trial = _trial(bench, assignment.number)
    events = views.trial_events(bench.ledger, bench.sweep_id, trial)
    if assignment.number == 2 and not any(e.kind == "retry" for e in events):
        return AttemptResult(attempt=assignment.attempt, outcome="failed", reason="error", detail="told to")
    if assignment.number == 3 and not trial.failures:
        coordinator.tick(alive=lambda lane: False)
        return None
    if assignment.number == 4 and _request_once(bench, coordinator, "stop", {}, "concluded"):
        return AttemptResult(attempt=assignment.attempt, outcome="stopped")
    return run_attempt(coordinator, work, me)


def _trial(bench: Bench, number: int) -> TrialRow:
    return next(t for t in views.trials(bench.ledger, bench.sweep_id) if t.number == number)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[tuple[Any, ...]], int, int]:
    """How every trial ends where nothing goes wrong, and how many writes and statements that takes."""
    bench, counting, statements = Bench(tmp_path_factory.mktemp("quiet")), Saboteur(), Saboteur()
    statements.statements_of(bench.ledger)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Ledger, "commit", counting.over(Ledger.commit))
        run(bench, lambda: bench.begin(spec()), pid=1)
    expected = table(views.trials(bench.ledger, bench.sweep_id))
    assert {row[1] for row in expected} == {"complete", "pruned"}
    assert len(expected) == 6
    assert {e.kind for e in views.events(bench.ledger, bench.sweep_id)} == COVERED
    bench.ledger.close()
    return expected, counting.writes, statements.writes


@pytest.mark.parametrize("how", WAYS)
def test_coordinator_with_any_write_failing_loses_no_trial(
    how: str, quiet: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No trial is lost, none ends twice, and none that had ended is run again."""
    commit, (expected, writes, _) = Ledger.commit, quiet
    for at in range(1 + WAYS.index(how) % WRITE_STRIDE, writes + 1, WRITE_STRIDE):
        bench = Bench(tmp_path / f"at-{at}")
        monkeypatch.setattr(Ledger, "commit", Saboteur(how, at).over(commit))
        try:
            run(bench, partial(bench.begin, spec()), pid=1)
        except DriverKilled:
            over = {t.number: t.attempts for t in views.trials(bench.ledger, bench.sweep_id) if _for_good(t)}
            run(bench, partial(bench.take_over, token="driver-2"), pid=2)
            again = {t.number: t.attempts for t in views.trials(bench.ledger, bench.sweep_id)}
            assert {number: again[number] for number in over} == over, f"write {at}: a trial ran again"
        check(bench, expected, f"write {at} {how}")
        bench.ledger.close()


def _for_good(trial: TrialRow) -> bool:
    return trial.has_ended and trial.state != "failed"  # failed trials are asked for again


def test_coordinator_with_any_statement_failing_ends_the_same(quiet: Any, tmp_path: Path) -> None:
    """Every INSERT, UPDATE, DELETE, BEGIN and COMMIT, of whichever write: nothing of it is there, and the
    call that is made again ends as if it had not failed."""
    expected, _, statements = quiet
    for at in range(1, statements + 1, STATEMENT_STRIDE):
        bench, saboteur = Bench(tmp_path / f"at-{at}"), Saboteur(at=at)
        saboteur.statements_of(bench.ledger)
        try:
            run(bench, partial(bench.begin, spec()), pid=1)
        except LedgerUnavailable:  # where a person's command would have said so: it is simply made again
            begin = (
                partial(bench.take_over, token="driver-2") if bench.sweep_id else partial(bench.begin, spec())
            )
            run(bench, begin, pid=2)
        check(bench, expected, f"statement {at}")
        bench.ledger.close()


def check(bench: Bench, expected: list[tuple[Any, ...]], where: str) -> None:
    """The end is the quiet run's, and every attempt and trial ended once; the failed one once more."""
    trials = views.trials(bench.ledger, bench.sweep_id)
    assert table(trials) == expected, where
    assert views.sweep_by_id(bench.ledger, bench.sweep_id).state == "finished", where
    assert all(a.ended_at is not None for a in views.attempts(bench.ledger, bench.sweep_id)), where
    events = views.events(bench.ledger, bench.sweep_id)
    ends = [e.number for e in events if e.kind == "ended"]
    assert sorted(ends) == sorted([*(trial.number for trial in trials), 2]), where
    assert len([e for e in events if e.kind == "grown"]) == 1, where
    assert len([e for e in events if e.kind == "retry"]) == 1, where
    assert [trial.failures for trial in trials] == [int(trial.number == 3) for trial in trials], where
    assert views.open_requests(bench.ledger, bench.sweep_id) == [], where


@pytest.mark.parametrize("chance_seed", [0, 1])
def test_random_deaths_and_threads_leave_the_trial_table_the_same(chance_seed: int, tmp_path: Path) -> None:
    """The actor is called from several threads; in between, drivers and coordinators die at random."""
    search = {"name": "tpe", "n_startup_trials": 12, "constant_liar": True}
    long = sweep(family(trials=40, sampler=search))
    quiet, bench = Bench(tmp_path / "quiet"), Bench(tmp_path / "killed")
    drive(quiet.begin(long), hello())
    chance, deaths = random.Random(chance_seed), 0
    threads = [ThreadPoolExecutor(1) for _ in range(3)]
    coordinator, me, ended = bench.begin(long), hello(pid=1), None
    while not (work := _call_on(chance.choice(threads), coordinator.next_attempts, me, ended=ended)).leave:
        ended = None
        _call_on(chance.choice(threads), coordinator.prefetch_trials)
        if not work.attempts:
            continue
        made = _call_on(chance.choice(threads), run_attempt, coordinator, work, me)
        what = chance.choice(["driver", "coordinator", *["nobody"] * 8])
        deaths += what != "nobody"
        if what == "driver":  # before the end of the attempt was told
            me, coordinator = hello(pid=100 + deaths), bench.take_over(token=f"driver-{deaths}")
            continue
        ended = made
        if what == "coordinator":
            coordinator = bench.take_over(same_driver=True)
    for thread in threads:
        thread.shutdown()
    assert deaths > 3
    expected = table(views.trials(quiet.ledger, quiet.sweep_id))
    assert table(views.trials(bench.ledger, bench.sweep_id)) == expected


def _call_on(thread: ThreadPoolExecutor, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    return thread.submit(call, *arguments, **named).result()
