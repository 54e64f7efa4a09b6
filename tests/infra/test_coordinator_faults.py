"""A ledger that refuses, an answer that is lost, a driver that dies: at each write in turn.

One lane, TPE and ASHA. Whatever happens at whichever write, the end is that of a quiet run in every trial.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from infra.coordinator.core import Coordinator
from infra.errors import LedgerUnavailable
from infra.ledger import views
from infra.ledger.rows import TrialRow
from infra.ledger.store import Batch, Ledger
from infra.spec import SweepSpec
from tests.infra.conftest import Bench, drive, family, hello, run_attempt, sweep


class Killed(BaseException):
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

        def spoiled(ledger: Ledger, sweep_id: int, epoch: int, batch: Batch) -> None:
            self.writes += 1
            now = self.writes == self.at
            if now and self.how in {"refused", "killed"}:
                self._break()
            commit(ledger, sweep_id, epoch, batch)
            if now:
                self._break()

        return spoiled

    def _break(self) -> None:
        if self.how.startswith("killed"):
            raise Killed
        raise LedgerUnavailable("the ledger must take writes", self.how)


class Patient:
    """What the actor does around the core: a call that the ledger refused is made again on a new core."""

    def __init__(self, bench: Bench, make: Callable[[], Coordinator]) -> None:
        self._bench = bench
        self._core = self._made(make)

    def _made(self, make: Callable[[], Coordinator]) -> Coordinator:
        while True:
            try:
                return make()
            except LedgerUnavailable:
                make = self._again

    def _again(self) -> Coordinator:
        return self._bench.take_over(same_driver=True)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._core, name)
        return self._calling(name) if callable(found) and not name.startswith("_") else found

    def _calling(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            while True:
                try:
                    return getattr(self._core, name)(*arguments, **named)
                except LedgerUnavailable:
                    self._core = self._made(self._again)

        return call


def spec() -> SweepSpec:
    """Eight trials, so that TPE decides some of them and ASHA ends some."""
    return sweep(family(trials=8, sampler={"name": "tpe", "n_startup_trials": 2}))


def table(trials: list[TrialRow]) -> list[tuple[Any, ...]]:
    """What must be as in the quiet run."""
    return [
        (t.number, t.state, t.params, t.seed, t.epoch, t.epochs, t.objective, t.metrics, t.reason)
        for t in trials
    ]


def run(bench: Bench, begin: Callable[[], Coordinator], pid: int) -> None:
    """One driver with one lane, to the end."""
    coordinator: Any = Patient(bench, begin)
    drive(coordinator, hello(pid=pid))
    coordinator.tick()
    assert coordinator.state == "finished"


@pytest.mark.parametrize("how", ["refused", "unanswered", "killed", "killed-after"])
def test_each_write_in_turn_goes_wrong(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No trial is lost, none ends twice, and none that had ended is run again."""
    commit = Ledger.commit
    quiet, counting = Bench(tmp_path / "quiet"), Saboteur()
    monkeypatch.setattr(Ledger, "commit", counting.over(commit))
    run(quiet, lambda: quiet.begin(spec()), pid=1)
    expected = table(views.trials(quiet.ledger, quiet.sweep_id))
    assert {row[1] for row in expected} == {"complete", "pruned"}

    for at in range(1, counting.writes + 1):
        bench = Bench(tmp_path / f"at-{at}")
        monkeypatch.setattr(Ledger, "commit", Saboteur(how, at).over(commit))
        try:
            run(bench, partial(bench.begin, spec()), pid=1)
        except Killed:
            over = {t.number: t.attempts for t in views.trials(bench.ledger, bench.sweep_id) if t.ended}
            run(bench, partial(bench.take_over, token="driver-2"), pid=2)
            again = {t.number: t.attempts for t in views.trials(bench.ledger, bench.sweep_id)}
            assert {number: again[number] for number in over} == over, f"write {at}: a trial ran again"
        check(bench, expected, f"write {at} {how}")
        bench.ledger.close()


def check(bench: Bench, expected: list[tuple[Any, ...]], where: str) -> None:
    """The end is the quiet run's, and every attempt and trial ended once."""
    trials = views.trials(bench.ledger, bench.sweep_id)
    assert table(trials) == expected, where
    assert views.sweep_by_id(bench.ledger, bench.sweep_id).state == "finished", where
    assert all(a.ended_at is not None for a in views.attempts(bench.ledger, bench.sweep_id)), where
    ends = [e.number for e in views.events(bench.ledger, bench.sweep_id) if e.kind == "ended"]
    assert sorted(ends) == [trial.number for trial in trials], where
    assert sum(trial.failures for trial in trials) == 0, where


@pytest.mark.parametrize("chance_seed", [0, 1])
def test_whichever_thread_calls_and_whoever_dies_the_table_is_the_same(
    chance_seed: int, tmp_path: Path
) -> None:
    """The actor is called from several threads; in between, drivers and coordinators die at random."""
    search = {"name": "tpe", "n_startup_trials": 12, "constant_liar": True}
    long = sweep(family(trials=40, sampler=search))
    quiet, bench = Bench(tmp_path / "quiet"), Bench(tmp_path / "killed")
    drive(quiet.begin(long), hello())
    chance, deaths = random.Random(chance_seed), 0
    threads = [ThreadPoolExecutor(1) for _ in range(3)]
    coordinator, me, ended = bench.begin(long), hello(pid=1), None
    while not (work := _by(chance.choice(threads), coordinator.next_attempts, me, ended=ended)).leave:
        ended = None
        _by(chance.choice(threads), coordinator.settle)
        if not work.attempts:
            continue
        made = _by(chance.choice(threads), run_attempt, coordinator, work, me)
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


def _by(thread: ThreadPoolExecutor, call: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    return thread.submit(call, *arguments, **named).result()
