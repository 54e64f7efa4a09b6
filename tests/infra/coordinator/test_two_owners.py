"""Two drivers that take a sweep from each other while three command lines ask for things, on both databases.

Each has connections of its own, as processes have. Whoever is not the newest owner changes nothing. With
`EVERY_WRITE`, as `make test-all` has it, thousands of interleavings; `TWO_OWNERS` gives the number of seeds.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import event

from infra.coordinator.core import Coordinator
from infra.coordinator.messages import AttemptResult
from infra.errors import FencedError
from infra.ledger import views
from infra.ledger.rows import OwnerRow
from infra.ledger.store import Ledger
from tests.infra.conftest import Bench, drive, family, hello, run_attempt, sweep

STEPS = 40
LONGER_THAN_A_TAKEOVER_S = 0.15
SEEDS = int(os.environ.get("TWO_OWNERS", "50" if "EVERY_WRITE" in os.environ else "4"))
COMMANDS = {"extend": {"trials": 1}, "retry": {}, "stop": {}}


@dataclass
class SweepDriver:
    """One that may believe to own the sweep."""

    name: str
    ledger: Ledger
    coordinator: Coordinator | None = None
    pids: Any = field(default_factory=lambda: itertools.count(1))

    def take(self, bench: Bench) -> None:
        """Becomes the newest owner."""
        token = f"{self.name}-{next(self.pids)}"
        me = OwnerRow(epoch=0, token=token, host=self.name, pid=1, pid_started_at=0.0)
        epoch, _ = self.ledger.claim(bench.sweep_id, me, lambda owner: True)
        self.coordinator = Coordinator(
            self.ledger, bench.sweep_id, epoch=epoch, clock=bench.clock, steady=bench.clock
        )

    def act(self, chance: random.Random) -> None:
        """A lane of its own enters and trains, to the end or not; or time passes."""
        coordinator = self.coordinator
        assert coordinator is not None
        me = hello(f"{self.name}-lane", pid=next(self.pids))
        coordinator.register_lane(me)
        work = coordinator.next_attempts(me)
        what = chance.choice(["train", "fail", "leave", "tick"])
        if work.attempts and what == "train":
            coordinator.next_attempts(me, ended=run_attempt(coordinator, work, me))
        elif work.attempts and what == "fail":
            ended = AttemptResult(
                attempt=work.attempts[0].attempt, outcome="failed", reason="error", detail="told to"
            )
            coordinator.next_attempts(me, ended=ended)
        coordinator.tick()
        if coordinator.stopping is not None:
            coordinator.conclude_stop()


def rows(bench: Bench) -> list[tuple[object, ...]]:
    """What the ledger says of every trial."""
    found = views.trials(bench.ledger, bench.sweep_id)
    return [(trial.key, trial.state, trial.attempts, trial.epochs, trial.objective) for trial in found]


def check_ends(bench: Bench) -> None:
    """Each trial ended once, and once more for each time that it was tried again; no attempt is left open."""
    trials = views.trials(bench.ledger, bench.sweep_id)
    events = views.events(bench.ledger, bench.sweep_id)
    attempts = views.attempts(bench.ledger, bench.sweep_id)
    ends = Counter((event.family, event.number) for event in events if event.kind == "ended")
    again = Counter((event.family, event.number) for event in events if event.kind == "retry")
    assert ends == Counter((trial.family, trial.number) for trial in trials) + again
    assert all(trial.has_ended for trial in trials)
    assert all(attempt.ended_at is not None for attempt in attempts)
    assert Counter((a.family, a.number) for a in attempts) == {
        (t.family, t.number): t.attempts for t in trials
    }


@pytest.mark.parametrize("seed", range(SEEDS))
def test_sweep_of_two_drivers_and_three_command_lines_ends_each_trial_once(
    any_bench: Bench, seed: int
) -> None:
    chance, bench = random.Random(seed), any_bench
    spec = sweep(family("one", trials=4), family("two", trials=3, pruner={"name": "none"}))
    bench.sweep_id = bench.ledger.create_sweep(spec, fingerprint="f", facts={}, at=0.0)
    drivers = [SweepDriver(name, Ledger(bench.url)) for name in ("a", "b")]
    lines = {kind: Ledger(bench.url) for kind in COMMANDS}
    newest, refused = drivers[0], 0
    newest.take(bench)
    for _ in range(STEPS):
        bench.clock.now += 1.0
        driver = chance.choice(drivers)
        if chance.random() < 0.25:
            kind = chance.choice(list(COMMANDS))
            lines[kind].add_request(bench.sweep_id, kind, COMMANDS[kind], bench.clock())
        elif driver.coordinator is None or chance.random() < 0.1:
            driver.take(bench)
            newest = driver
        elif driver is newest:
            driver.act(chance)
            if driver.coordinator.state != "running":
                driver.coordinator = None
        else:
            before = rows(bench)
            with pytest.raises(FencedError):
                driver.act(chance)
            assert rows(bench) == before
            driver.coordinator, refused = None, refused + 1
    finish(bench, newest)
    check_ends(bench)
    assert refused
    for ledger in (*lines.values(), *(driver.ledger for driver in drivers)):
        ledger.close()


def finish(bench: Bench, driver: SweepDriver) -> None:
    """One driver alone runs what is left, to the sweep's end; a stop may still be asked for."""
    while driver.coordinator is None or driver.coordinator.state == "running":
        driver.take(bench)
        assert driver.coordinator is not None
        driver.coordinator.tick()
        if driver.coordinator.stopping is not None:
            driver.coordinator.conclude_stop()
            driver.coordinator = None
            continue
        drive(driver.coordinator, hello("last", pid=next(driver.pids)))
        driver.coordinator.tick()


def give_way_before_writing(ledger: Ledger, chance: random.Random) -> None:
    """Between what a transaction reads and what it writes, others have their turn."""

    def give_way(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if not statement.startswith("SELECT") and chance.random() < 0.05:
            time.sleep(LONGER_THAN_A_TAKEOVER_S)

    event.listen(ledger.engine, "before_cursor_execute", give_way)


@pytest.mark.parametrize("seed", range(max(1, SEEDS // 4)))
def test_drivers_and_command_lines_that_write_at_the_same_moment_end_each_trial_once(
    any_bench: Bench, seed: int
) -> None:
    """As before, each in a thread of its own: what one reads may be changed before it writes."""
    bench = any_bench
    spec = sweep(family("one", trials=4), family("two", trials=3, pruner={"name": "none"}))
    bench.sweep_id = bench.ledger.create_sweep(spec, fingerprint="f", facts={}, at=0.0)
    drivers = [SweepDriver(name, Ledger(bench.url)) for name in ("a", "b")]
    lines = {kind: Ledger(bench.url) for kind in COMMANDS}
    for ledger in (*lines.values(), *(driver.ledger for driver in drivers)):
        give_way_before_writing(ledger, random.Random(seed))
    start, failures = threading.Barrier(len(drivers) + len(lines)), list[BaseException]()
    both, fenced = threading.Barrier(len(drivers)), Counter[str]()

    def drive_against_the_other(driver: SweepDriver, chance: random.Random) -> None:
        with contextlib.suppress(FencedError):  # by the other, before it has begun
            driver.take(bench)
        both.wait(60)
        for _ in range(STEPS // 2):
            try:
                if driver.coordinator is None or chance.random() < 0.2:
                    driver.take(bench)
                driver.act(chance)
            except FencedError:
                fenced[driver.name] += 1
                driver.coordinator = None
            if driver.coordinator is not None and driver.coordinator.state != "running":
                driver.coordinator = None

    def ask(kind: str, chance: random.Random) -> None:
        for _ in range(STEPS // 10):
            lines[kind].add_request(bench.sweep_id, kind, COMMANDS[kind], bench.clock())

    def run(work: Any, who: Any, key: str) -> None:
        try:
            start.wait(60)
            work(who, random.Random(f"{seed} {key}"))
        except BaseException as error:  # a thread's error would be lost
            failures.append(error)

    threads = [threading.Thread(target=run, args=(drive_against_the_other, d, d.name)) for d in drivers]
    threads += [threading.Thread(target=run, args=(ask, kind, kind)) for kind in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert not failures, failures
    finish(bench, drivers[0])
    check_ends(bench)
    assert fenced
    for ledger in (*lines.values(), *(driver.ledger for driver in drivers)):
        ledger.close()
