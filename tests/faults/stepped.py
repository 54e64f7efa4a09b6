"""Faults of the coordinator's core in processes of their own, without Ray: each stands for a driver.

    python -m tests.faults.stepped race FOLDER 20

Prints one JSON document. Processes are forked from one that has imported everything and has no threads, so
that they can be started within milliseconds of each other and killed at any statement.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import event

from flows.sweeps.ownership import own_sweep
from infra.coordinator.core import Coordinator
from infra.coordinator.messages import Assignment, AttemptResult, EpochReport, LaneHandshake
from infra.errors import OwnedElsewhere
from infra.ledger import views
from infra.ledger.store import Ledger
from tests.faults.harness import ROOT
from tests.infra.conftest import GOAL, Bench, drive, family, hello, run_attempt, score, sweep

REFUSED = 4
WITHIN_S = 0.1
FOUR = ["lane-0", "lane-1", "lane-2", "lane-3"]


def run_step(what: str, folder: Path, *words: str, limit_s: float = 200) -> Any:
    """Runs this module in a process of its own; what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.stepped", what, str(folder), *words],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=limit_s,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2_000:]
    return json.loads(done.stdout)


def fork_process(work: Callable[[], None]) -> int:
    """The pid of a new process that does it and ends."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        work()
        status = 0
    except OwnedElsewhere:
        status = REFUSED
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def wait_for_exit(pid: int) -> int:
    """How a forked process ended; negative: by that signal."""
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


# -- two drivers at once -----------------------------------------------------------------------------------


def race(folder: Path, rounds: str) -> dict[str, Any]:
    """Two drivers on one new study within a tenth of a second, again and again."""
    chance, ends, wrong = random.Random(5), Counter[str](), list[str]()
    for place in range(int(rounds)):
        url = f"sqlite:///{folder / f'race-{place}.db'}"
        at = time.time() + 0.2
        starts = [partial(_driver, url, pid, at + chance.uniform(0, WITHIN_S)) for pid in (1, 2)]
        pids = [fork_process(start) for start in starts]
        codes = sorted(wait_for_exit(pid) for pid in pids)
        ends["+".join(map(str, codes))] += 1
        wrong += [f"round {place}: {what}" for what in _uneven(url, codes)]
    return {"ends": ends, "wrong": wrong}


def _driver(url: str, pid: int, at: float) -> None:
    time.sleep(max(0.0, at - time.time()))
    ledger = Ledger(url, create=True)
    spec = sweep(family(trials=5))
    row = views.sweep_by_id(ledger, ledger.create_sweep(spec, fingerprint="f", facts={}, at=time.time()))
    with own_sweep(ledger, row) as ownership:
        coordinator = Coordinator(ledger, row.id, epoch=ledger.raise_epoch(row.id, ownership.token))
        drive(coordinator, hello(pid=pid), value=_slow_score)
        coordinator.tick()


def _slow_score(params: dict[str, object], epoch: int) -> float:
    time.sleep(0.02)
    return score(params, epoch)


def _uneven(url: str, codes: list[int]) -> list[str]:
    ledger = Ledger(url)
    found = []
    if codes not in ([0, REFUSED], [0, 0]):
        found.append(f"the drivers ended with {codes}")
    sweeps = views.sweeps(ledger)
    numbers = [trial.number for trial in views.trials(ledger, sweeps[0].id)]
    ends = Counter(e.number for e in views.events(ledger, sweeps[0].id) if e.kind == "ended")
    if (len(sweeps), numbers, sorted(ends.elements())) != (1, [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]):
        found.append(f"{len(sweeps)} sweeps, trials {numbers}, ends {dict(ends)}")
    attempts = Counter(attempt.number for attempt in views.attempts(ledger, sweeps[0].id))
    if set(attempts.values()) != {1}:
        found.append(f"attempts {dict(attempts)}")
    ledger.close()
    return found


# -- killed at each statement ------------------------------------------------------------------------------


def kill_at_each_statement(
    folder: Path, begin: Callable[[Bench], None], work: Callable[[Bench], None], stride: int
) -> list[tuple[int, Bench]]:
    """Does `work` on copies of a ledger that `begin` left, killed by SIGKILL at its first statement and at
    each `stride`th after it, until it is done before the kill comes."""
    first = Bench(folder / "begun")
    begin(first)
    first.ledger.close()
    benches = []
    for statement in range(1, 1_000, stride):
        place = folder / f"at-{statement}"
        shutil.copytree(folder / "begun", place)
        bench = Bench(place, clock=first.clock)
        bench.sweep_id = first.sweep_id
        bench.ledger.close()
        status = wait_for_exit(fork_process(partial(_kill_at_statement, bench, statement, work)))
        if status == 0:
            return benches
        assert status == -signal.SIGKILL, f"statement {statement} ended the process with {status}"
        benches.append((statement, bench))
    raise AssertionError("the work has no end")


def _kill_at_statement(bench: Bench, statement: int, work: Callable[[Bench], None]) -> None:
    bench.ledger = Ledger(bench.url)
    left = [statement]

    def die(*_: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    for name in ("before_cursor_execute", "commit"):  # before the transaction's end too
        event.listen(bench.ledger.engine, name, die)
    work(bench)


def reap(folder: Path, stride: str) -> dict[str, Any]:
    """Four trials run when their driver dies; the one that takes over is killed at each statement."""
    told = {}
    for how, work, failures in (("driver", _take_over, 0), ("lanes", _lose_lanes, 1)):
        place = folder / how
        place.mkdir()
        killed = kill_at_each_statement(place, _begin_four_attempts, work, int(stride))
        wrong = [
            f"{how} at {n}: {what}" for n, bench in killed for what in _check_retries(bench, work, failures)
        ]
        told[how] = {"statements": len(killed), "wrong": wrong}
    return told


def _begin_four_attempts(bench: Bench) -> None:
    coordinator = bench.begin(sweep(family(trials=6)))
    for place, lane in enumerate(FOUR):
        me = hello(lane, 100 + place)
        coordinator.register_lane(me)
        (work,) = coordinator.next_attempts(me).attempts
        coordinator.heartbeat(me, work.attempt, [EpochReport(epoch=1, metrics={GOAL: 0.1}, at=bench.clock())])


def _take_over(bench: Bench) -> None:
    """A new driver: all that ran goes back to waiting."""
    bench.take_over(token="driver-2")


def _lose_lanes(bench: Bench) -> None:
    """A new coordinator of the same driver, which finds all lanes gone."""
    bench.take_over(same_driver=True).tick(alive=lambda lane: False)


def _check_retries(bench: Bench, work: Callable[[Bench], None], failures: int) -> list[str]:
    bench.ledger = Ledger(bench.url)
    work(bench)
    trials = views.trials(bench.ledger, bench.sweep_id)
    found = []
    if [(t.state, t.attempts, t.failures) for t in trials[:4]] != [("waiting", 1, failures)] * 4:
        found.append(f"taken over as {[(t.state, t.attempts, t.failures) for t in trials]}")
    coordinator = bench.take_over(token="driver-3")
    drive(coordinator, hello("last", 500))
    coordinator.tick()
    trials = views.trials(bench.ledger, bench.sweep_id)
    if [t.attempts for t in trials] != [2, 2, 2, 2, 1, 1] or not all(t.has_ended for t in trials):
        found.append(f"ended as {[(t.state, t.attempts) for t in trials]}")
    ends = Counter(e.number for e in views.events(bench.ledger, bench.sweep_id) if e.kind == "ended")
    if set(ends.values()) != {1}:
        found.append(f"ends {dict(ends)}")
    bench.ledger.close()
    return found


# -- a decision while the worker dies ----------------------------------------------------------------------


def decide(folder: Path, stride: str) -> dict[str, Any]:
    """The pruner ends a trial, or the sweep is stopped, while the trial's lane dies, and the coordinator is
    killed at each statement of saying so."""
    told = {}
    for how, work in (("prune", _prune_and_die), ("stop", _stop_and_die)):
        place = folder / how
        place.mkdir()
        killed = kill_at_each_statement(place, _about_to_prune, work, int(stride))
        wrong = [f"{how} at {n}: {what}" for n, bench in killed for what in _once(bench)]
        told[how] = {"statements": len(killed), "wrong": wrong}
    return told


def _about_to_prune(bench: Bench) -> None:
    """Three good trials have ended; the fourth is about to be judged after its first epoch."""
    coordinator = bench.begin(sweep(family(trials=6, sampler={"name": "random"})))
    me = hello()
    coordinator.register_lane(me)
    ended = None
    for _ in range(3):
        work = coordinator.next_attempts(me, ended=ended)
        ended = run_attempt(coordinator, work, me, value=lambda params, epoch: 0.9)
    coordinator.next_attempts(me, ended=ended)


def _resume_attempt(bench: Bench) -> tuple[Coordinator, LaneHandshake, Assignment]:
    """The coordinator again in a new process, and the attempt under way."""
    coordinator, me = bench.take_over(same_driver=True), hello()
    (work,) = coordinator.next_attempts(me).attempts
    return coordinator, me, work


def _prune_and_die(bench: Bench) -> None:
    coordinator, me, work = _resume_attempt(bench)
    report = EpochReport(epoch=1, metrics={GOAL: 0.01}, at=bench.clock())
    assert coordinator.decide(me, work.attempt, [report]) is False, "the pruner should end it"
    coordinator.tick(alive=lambda lane: False)


def _stop_and_die(bench: Bench) -> None:
    coordinator, me, work = _resume_attempt(bench)
    coordinator.stop("asked to")
    assert coordinator.heartbeat(me, work.attempt).stop
    coordinator.tick(alive=lambda lane: False)
    ended = AttemptResult(attempt=work.attempt, outcome="stopped")
    coordinator.next_attempts(hello(pid=101), ended=ended)  # the last words of a process already given up
    coordinator.conclude_stop()


def _once(bench: Bench) -> list[str]:
    """What is wrong after the next driver has brought the sweep to its end."""
    bench.ledger = Ledger(bench.url)
    coordinator = bench.take_over(token="driver-2")
    me = hello(pid=200)
    coordinator.register_lane(me)
    ended = None
    while not (work := coordinator.next_attempts(me, ended=ended)).leave:
        ended = run_attempt(coordinator, work, me, value=lambda params, epoch: 0.9) if work.attempts else None
    coordinator.tick()
    trials = views.trials(bench.ledger, bench.sweep_id)
    ends = Counter(e.number for e in views.events(bench.ledger, bench.sweep_id) if e.kind == "ended")
    attempts = views.attempts(bench.ledger, bench.sweep_id)
    study = coordinator._studies._studies["noop"]  # type: ignore[union-attr]
    found = []
    if sorted(ends.elements()) != [trial.number for trial in trials] or len(trials) != 6:
        found.append(f"ends {dict(ends)} of {len(trials)} trials")
    if not all(attempt.ended_at is not None for attempt in attempts):
        found.append("an attempt without an end")
    if not all(trial.state.is_finished() for trial in study.get_trials(deepcopy=False)):
        found.append("a trial without an end in the study")
    if Counter(trial.state for trial in trials)["failed"]:
        found.append(f"failed: {[trial.reason for trial in trials]}")
    bench.ledger.close()
    return found


if __name__ == "__main__":
    said = {"race": race, "reap": reap, "decide": decide}[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
    print(json.dumps(said))
