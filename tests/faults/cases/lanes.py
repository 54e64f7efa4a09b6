"""Lanes and their ranks are killed, stopped, hang, or run out of memory."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import psutil

from infra.ledger.rows import TrialRow
from tests.faults import tally
from tests.faults.harness import ROOT, Stage, check_tracking, children, kill, stretch_limit, table, until
from tests.faults.outcome import Outcome, Pace, case

WORKER = "ray::RayTrainWorker"


# -- F01 ---------------------------------------------------------------------------------------------------

RANKS = f"""
name: ranks
data: {{source: none}}
objective: {{metric: accuracy, direction: maximize}}
budget: {{trials: 2, epochs: 12}}
search: {{sampler: random, pruner: none}}
resources: {{lanes: 1, workers: 2, gpus: 0}}
checkpoint: {{every: 1 epoch}}
families:
  tests.faults.mlp:train:
    space: {{learning_rate: {{type: float, low: 1.0e-3, high: 1.0e-2, log: true}}}}
code: {{root: {ROOT}}}
"""


@case("F01", "SIGKILL one of two ranks in the midst of an epoch, then the other", ray=True)
def rank_dies(folder: Path, pace: Pace) -> Outcome:
    """A two-rank MLP over gloo: known within 5 s, training again within 30, to the same bits."""
    quiet = Stage(folder / "quiet")
    quiet.write("ranks.yaml", RANKS)
    done = quiet.run("sweep", "ranks.yaml")
    assert done.returncode == 0, done.stderr
    expected = table(quiet.trials("ranks"))

    stage = Stage(folder / "killed")
    stage.write("ranks.yaml", RANKS)
    driver = stage.start("sweep", "ranks.yaml")
    detects, restores = [], []
    for number, leads in enumerate([False, True]):
        stage.wait_for("ranks", lambda ts, n=number: len(ts) > n and stage.steps("ranks", n)[3:] != [])
        (leader,) = stage.lane_pids("ranks")
        (other,) = [p.pid for p in children(driver, WORKER) if p.pid != leader]
        killed_at = time.time()
        kill(leader if leads else other)
        until(partial(_epochs_by_another, stage, number, leader), 60)
        first = next(a for a in stage.attempts("ranks") if a.number == number)
        assert first.outcome == "worker-died", first
        detects.append(first.ended_at - killed_at)
        restores.append(next(s.at for s in stage.steps("ranks", number) if s.pid != leader) - killed_at)
    _, err = driver.communicate(timeout=600)
    assert driver.returncode == 0, err
    assert [(t.state, t.attempts, t.failures) for t in stage.trials("ranks")] == [("complete", 2, 1)] * 2
    assert max(detects) < stretch_limit(5)
    assert max(restores) < stretch_limit(30)
    counts = tally.tally_sweep(stage, "ranks", 2, quiet=expected)
    assert counts["wasted"] <= 2 / 24, "more than one checkpoint's interval a kill"
    note = "attempts 2; the numbers are the quiet run's to the bit"
    return Outcome(**counts, detect_s=max(detects), restore_s=max(restores), note=note)


def _epochs_by_another(stage: Stage, number: int, pid: int) -> bool:
    return stage.steps("ranks", number)[-1].pid != pid


# -- F02 ---------------------------------------------------------------------------------------------------

EIGHT = f"""
name: eight
data: {{source: none}}
objective: {{metric: accuracy, direction: maximize}}
budget: {{trials: 8, epochs: 260}}
search: {{sampler: random, pruner: none}}
resources: {{lanes: 8, cpus: 0.25}}
checkpoint: {{every: 1s}}
families:
  tests.faults.scripted:train:
    space: {{learning_rate: {{type: float, low: 1.0e-5, high: 1.0e-1, log: true}}}}
code: {{root: {ROOT}}}
"""
WINDOW_S = 15.0


@case("F02", "SIGKILL the workers of 3 of 8 concurrent trials", ray=True)
def three_of_eight(folder: Path, pace: Pace) -> Outcome:
    """The other five keep their step rate within a tenth, and all eight finish."""
    stage = Stage(folder, {"SCRIPTED_SLEEP": "0.25"})
    stage.write("eight.yaml", EIGHT)
    driver = stage.start("sweep", "eight.yaml")
    stage.wait_for("eight", lambda trials: len(trials) == 8 and all(trial.epochs > 0 for trial in trials))
    time.sleep(WINDOW_S)
    running = [attempt for attempt in stage.attempts("eight") if attempt.ended_at is None]
    victims = random.Random(2).sample(running, 3)
    killed_at = time.time()
    for attempt in victims:
        kill(attempt.lane_facts["pid"])
    _, err = driver.communicate(timeout=600)
    assert driver.returncode == 0, err

    struck = {attempt.number for attempt in victims}
    trials = stage.trials("eight")
    assert {t.number for t in trials if t.attempts == 2} == struck
    rates = [_rates(stage, t.number, killed_at) for t in trials if t.number not in struck]
    change = fmean(after / before for before, after in rates) - 1
    slowest = min(after / before for before, after in rates) - 1
    assert slowest > -0.1, f"a neighbour's step rate changed by {slowest:.0%}"
    firsts = [a for a in stage.attempts("eight") if a.id in {v.id for v in victims}]
    again = [_first_of_another(stage, v.number, v.lane_facts["pid"]) for v in victims]
    check_tracking(stage, "eight")
    return Outcome(
        **tally.tally_sweep(stage, "eight", 8),
        detect_s=max(a.ended_at for a in firsts) - killed_at,
        restore_s=max(again) - killed_at,
        note=f"the others' step rate: {change:+.1%} on average, {slowest:+.1%} at worst",
    )


def _rates(stage: Stage, number: int, at: float) -> tuple[float, float]:
    """Steps a second in the window before and in the one after."""
    times = [step.at for step in stage.steps("eight", number)]
    before = [t for t in times if at - WINDOW_S < t <= at]
    after = [t for t in times if at < t <= at + WINDOW_S]
    return _rate(before), _rate(after)


def _rate(times: list[float]) -> float:
    return (len(times) - 1) / (times[-1] - times[0])


def _first_of_another(stage: Stage, number: int, pid: int) -> float:
    return next(step.at for step in stage.steps("eight", number) if step.pid != pid)


# -- F07 ---------------------------------------------------------------------------------------------------

FROZEN = f"""
name: frozen
data: {{source: none}}
objective: {{metric: accuracy, direction: maximize}}
budget: {{trials: 4, epochs: 40}}
search: {{sampler: random, pruner: none}}
resources: {{lanes: 2}}
checkpoint: {{every: 1 epoch}}
limits: {{lease: 4s}}
families:
  tests.faults.scripted:train:
    space: {{learning_rate: {{type: float, low: 1.0e-5, high: 1.0e-1, log: true}}}}
code: {{root: {ROOT}}}
"""
# The coordinator ends a silent lane's process itself where it can see it. A lane that says that it is on
# another machine cannot be reached so: stopped, it is a zombie that may wake up.
ELSEWHERE = """
import os
import socket
import sys

here = socket.gethostname


def gethostname():
    caller = sys._getframe(1).f_code.co_filename
    return "elsewhere" if caller.endswith("infra/lanes/ray_worker.py") else here()


if os.environ.get("LANES_ELSEWHERE"):
    socket.gethostname = gethostname
"""


@case("F07", "SIGSTOP a lane past its lease, here and on another machine, then SIGCONT", ray=True)
def frozen_lane(folder: Path, pace: Pace) -> Outcome:
    """Its trial goes on elsewhere; what it says when it wakes is refused, and it ends without a crash."""
    detect_s, restore_s = _freeze_lane(folder / "here", awake=False)
    other_s, again_s = _freeze_lane(folder / "elsewhere", awake=True)
    stage = Stage(folder / "elsewhere")
    return Outcome(
        **tally.tally_sweep(Stage(folder / "here"), "frozen", 4)
        | {
            "orphaned": tally.count_orphaned(stage, "frozen"),
            "lost": tally.count_lost(stage.trials("frozen"), 4),
        },
        detect_s=max(detect_s, other_s),
        restore_s=max(restore_s, again_s),
        note="lease 4 s; the woken one's reports are refused, nothing ends twice",
    )


def _freeze_lane(folder: Path, *, awake: bool) -> tuple[float, float]:
    stage = Stage(folder, {"SCRIPTED_SLEEP": "0.5"})
    stage.write("frozen.yaml", FROZEN)
    if awake:
        stage.write("sitecustomize.py", ELSEWHERE)
        stage.environment |= {"LANES_ELSEWHERE": "1", "PYTHONPATH": str(folder)}
    driver = stage.start("sweep", "frozen.yaml")
    stage.wait_for("frozen", lambda trials: sum(trial.epochs >= 3 for trial in trials) == 2)
    victim = next(attempt for attempt in stage.attempts("frozen") if attempt.ended_at is None)
    pid = victim.lane_facts["pid"]
    stopped_at = time.time()
    os.kill(pid, signal.SIGSTOP)
    first = lambda: next(a for a in stage.attempts("frozen") if a.id == victim.id)  # noqa: E731
    until(lambda: first().ended_at is not None, 20)
    assert first().outcome == "worker-died"
    assert "limits.lease" in first().detail
    if awake:  # before Ray finds out too, and ends it
        assert psutil.Process(pid).status() == psutil.STATUS_STOPPED
        os.kill(pid, signal.SIGCONT)
    until(lambda: not _lives(pid), 20)
    _, err = driver.communicate(timeout=600)
    assert driver.returncode == 0, err
    _check_once(stage, stage.trials("frozen"), victim.number)
    return first().ended_at - stopped_at, _step_times_of_others(stage, victim.number, pid)[0] - stopped_at


def _step_times_of_others(stage: Stage, number: int, pid: int) -> list[float]:
    return [step.at for step in stage.steps("frozen", number) if step.pid != pid]


def _lives(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def _check_once(stage: Stage, trials: list[TrialRow], number: int) -> None:
    assert [trial.state for trial in trials] == ["complete"] * 4
    assert {t.number: (t.attempts, t.failures) for t in trials} == {
        n: ((2, 1) if n == number else (1, 0)) for n in range(4)
    }
    assert set(stage.ends("frozen").values()) == {1}
    check_tracking(stage, "frozen")


# -- F11 ---------------------------------------------------------------------------------------------------

STALLED = f"""
name: stalled
data: {{source: none}}
objective: {{metric: accuracy, direction: maximize}}
budget: {{trials: 2, epochs: 4}}
search: {{sampler: grid, pruner: none}}
resources: {{lanes: 1, workers: 2, gpus: 0}}
checkpoint: {{every: 1 epoch}}
limits: {{stall: 5s}}
families:
  tests.faults.ranked:train:
    space: {{fault: {{type: categorical, choices: [hang, none]}}}}
code: {{root: {ROOT}}}
"""


@case("F11", "one of two ranks sleeps for ever before it reports", ray=True)
def rank_hangs(folder: Path, pace: Pace) -> Outcome:
    """Ended by limits.stall, tried three times, failed with the rank that hung; the next trial is whole."""
    stage = Stage(folder)
    stage.write("stalled.yaml", STALLED)
    done = stage.run("sweep", "stalled.yaml", limit_s=250)
    assert done.returncode == 0, done.stderr
    hung, good = stage.trials("stalled")
    assert (good.state, good.attempts) == ("complete", 1)
    assert (hung.state, hung.attempts, hung.failures) == ("failed", 3, 3)
    assert hung.reason is not None
    assert hung.reason.startswith("timeout: ")
    assert "limits.stall" in hung.reason
    assert "rank 1" in hung.reason, hung.reason
    attempts = [attempt for attempt in stage.attempts("stalled") if attempt.number == hung.number]
    longest = max(attempt.ended_at - attempt.started_at for attempt in attempts)
    again = max(b.started_at - a.ended_at for a, b in pairwise(attempts))
    assert "_misbehave" in stage.logs("stalled", hung.number), "no stacks of the rank that hung"
    check_tracking(stage, "stalled")
    return Outcome(
        lost=tally.count_lost(stage.trials("stalled"), 2),
        duplicated=tally.count_duplicated(stage, "stalled"),
        orphaned=tally.count_orphaned(stage, "stalled"),
        detect_s=longest,
        restore_s=longest + again,
        note=f"limits.stall 5 s; 3 attempts; {hung.reason[:90]}",
    )


# -- F13 ---------------------------------------------------------------------------------------------------

HUNGRY = f"""
name: hungry
data: {{source: none}}
objective: {{metric: accuracy, direction: maximize}}
budget: {{trials: 4, epochs: 6}}
search: {{sampler: grid, pruner: none}}
resources: {{lanes: 2}}
checkpoint: {{every: 1 epoch}}
families:
  tests.faults.scripted:train:
    space:
      learning_rate: {{type: categorical, choices: [0.001, 0.003]}}
      fault: {{type: categorical, choices: [allocate, none]}}
code: {{root: {ROOT}}}
"""
CGROUPS = Path("/sys/fs/cgroup/memory")
GIBIBYTE = 2**30


@case("F13", "a worker takes more memory than there is: Ray's threshold, the kernel's limit", ray=True)
def out_of_memory(folder: Path, pace: Pace) -> Outcome:
    """Recorded as out-of-memory, tried at most once more at that size; the others finish."""
    notes = ["Ray's threshold"]
    stage = Stage(folder / "ray", {"SCRIPTED_SLEEP": "0.3", "SCRIPTED_BYTES": str(8 * GIBIBYTE)})
    memory = psutil.virtual_memory()
    threshold = (memory.total - memory.available + 4 * GIBIBYTE) / memory.total
    stage.environment |= {
        "RAY_memory_usage_threshold": f"{threshold:.3f}",
        "RAY_memory_monitor_refresh_ms": "100",
    }
    _run_out(stage, None)
    counts = [tally.tally_sweep(stage, "hungry", 4)]
    if os.access(CGROUPS, os.W_OK):
        notes.append("a cgroup's limit")
        stage = Stage(folder / "kernel", {"SCRIPTED_SLEEP": "0.3", "SCRIPTED_BYTES": str(8 * GIBIBYTE)})
        stage.environment["RAY_memory_monitor_refresh_ms"] = "0"
        with _memory_limit(6 * GIBIBYTE) as group:
            _run_out(stage, group)
        counts.append(tally.tally_sweep(stage, "hungry", 4))
    summed = {name: sum(count[name] for count in counts) for name in ("lost", "duplicated", "orphaned")}
    return Outcome(
        **summed, note=f"by {' and by '.join(notes)}: out-of-memory, 2 attempts; the others complete"
    )


@contextlib.contextmanager
def _memory_limit(size_bytes: int) -> Iterator[Path]:
    """A cgroup whose processes may have so much memory together."""
    group = CGROUPS / f"velodrome-test-{os.getpid()}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(size_bytes))
        yield group
    finally:
        until(lambda: not (group / "cgroup.procs").read_text(), 100)
        group.rmdir()


def _run_out(stage: Stage, group: Path | None) -> None:
    stage.write("hungry.yaml", HUNGRY)
    driver = stage.start("sweep", "hungry.yaml")
    if group is not None:
        (group / "cgroup.procs").write_text(str(driver.pid))
    _, err = driver.communicate(timeout=600)
    assert driver.returncode == 0, err
    for trial in stage.trials("hungry"):
        if trial.params["fault"] == "none":
            assert trial.state == "complete", trial.reason
        else:
            assert trial.state == "failed"
            assert (trial.reason or "").startswith("out-of-memory"), trial.reason
            assert trial.attempts <= 2
    check_tracking(stage, "hungry")
