"""The command is killed, told to stop, or asked for what cannot work."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from infra.storage.checkpoints import CheckpointStore, LoadedCheckpoint
from tests.faults import tally
from tests.faults.harness import (
    ROOT,
    Stage,
    check_tracking,
    children,
    have_ended,
    kill,
    left_behind,
    stretch_limit,
    table,
    under_way,
    until,
)
from tests.faults.outcome import Outcome, Pace, case

SURVIVE = f"""
name: survive
seed: 3
data: {{source: none}}
objective: {{metric: accuracy, direction: maximize}}
budget: {{trials: 14, epochs: 5}}
search: {{sampler: tpe, pruner: {{name: asha, min_epochs: 1, reduction: 2}}}}
resources: {{lanes: 1}}
checkpoint: {{every: 1 epoch}}
families:
  tests.faults.scripted:train:
    space:
      learning_rate: {{type: float, low: 1.0e-5, high: 1.0e-1, log: true}}
      optimizer: {{type: categorical, choices: [sgd, adam]}}
      momentum: {{type: float, low: 0, high: 0.9, when: {{optimizer: sgd}}}}
code: {{root: {ROOT}}}
"""
TOLD = f"""
name: told
seed: 3
data: {{source: none}}
objective: {{metric: accuracy, direction: maximize}}
budget: {{trials: 6, epochs: 20}}
search: {{sampler: random, pruner: none}}
resources: {{lanes: 2}}
families:
  tests.faults.scripted:train:
    space: {{learning_rate: {{type: float, low: 1.0e-5, high: 1.0e-1, log: true}}}}
code: {{root: {ROOT}}}
"""
HOPELESS = """
name: hopeless
data: {source: none}
objective: {metric: accuracy, direction: maximize}
budget: {trials: 12, epochs: 3}
search: {sampler: random, pruner: none}
resources: {lanes: 2}
families:
  mine:train:
    space: {learning_rate: {type: float, low: 1.0e-5, high: 1.0e-1, log: true}}
"""
IMPORTS_IN_NO_LANE = """
import ray

if ray.is_initialized():
    raise RuntimeError("no lane may import this")


def train(trial):
    for _ in trial.epochs():
        trial.report(accuracy=1.0)
"""


# -- F04 ---------------------------------------------------------------------------------------------------


@case(
    "F04",
    "SIGKILL the driver, the same command again; then the lane, then the coordinator",
    fast=True,
    ray=True,
)
def driver_dies(folder: Path, pace: Pace) -> Outcome:
    """One lane, TPE and ASHA: the final table is that of a quiet run, in every trial."""
    quiet = _stage_surviving_sweep(folder / "quiet")
    done = quiet.run("sweep", "survive.yaml", "--json")
    assert done.returncode == 0, done.stderr
    expected = table(quiet.trials("survive"))
    assert {row[2] for row in expected} == {"complete", "pruned"}

    stage = _stage_surviving_sweep(folder / "killed")
    driver = stage.start("sweep", "survive.yaml")
    stage.wait_for("survive", have_ended(2))
    killed_at = time.time()
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    before = {trial.number: trial.attempts for trial in stage.trials("survive") if trial.has_ended}

    driver = stage.start("sweep", "survive.yaml")
    stage.wait_for("survive", have_ended(4))
    (lane,) = stage.lane_pids("survive")
    kill(lane)
    stage.wait_for("survive", have_ended(7))
    (coordinator,) = children(driver, "ray::CoordinatorActor")
    kill(coordinator.pid)
    _, err = driver.communicate(timeout=600)
    assert driver.returncode == 0, err

    trials = stage.trials("survive")
    assert {number: trials[number].attempts for number in before} == before, "a finished trial ran again"
    assert sum(trial.failures for trial in trials) <= 1, "the killed lane's alone is charged"
    return Outcome(
        **tally.tally_sweep(stage, "survive", 14, quiet=expected),
        detect_s=_detected_s(stage, "survive", killed_at),
        restore_s=_restored_s(stage, "survive", killed_at),
        note="the table is the quiet run's",
    )


def _stage_surviving_sweep(folder: Path) -> Stage:
    stage = Stage(folder, {"SCRIPTED_SLEEP": "0.15"})
    stage.write("survive.yaml", SURVIVE)
    return stage


def _detected_s(stage: Stage, name: str, killed_at: float) -> float | None:
    """Until the first attempt of those that ran was known to have ended."""
    ends = [
        a.ended_at - killed_at
        for a in stage.attempts(name)
        if a.ended_at and a.ended_at > killed_at and a.outcome in {"driver-ended", "worker-died"}
    ]
    return min(ends, default=None)


def _restored_s(stage: Stage, name: str, killed_at: float) -> float:
    """Until the first step of a process that began after the fault."""
    steps = [step for trial in stage.trials(name) for step in stage.steps(name, trial.number)]
    before = {step.pid for step in steps if step.at < killed_at}
    return min(step.at for step in steps if step.pid not in before) - killed_at


# -- F05 ---------------------------------------------------------------------------------------------------


@case("F05", "SIGINT or SIGTERM to the driver's group, and a second signal", fast=True, ray=True)
def signals(folder: Path, pace: Pace) -> Outcome:
    """130 and 143 within 30 s, what ran is kept as waiting; a second signal ends at once; nothing is lost."""
    # A trial of ten seconds: that it runs is known, and that it shall stop is told, within two seconds each.
    stage = Stage(folder, {"SCRIPTED_SLEEP": "0.5"})
    count = 4 if pace.fast else 6
    stage.write("told.yaml", TOLD.replace("trials: 6", f"trials: {count}"))
    first_s, reached = _sigint(stage)
    check_tracking(stage, "told", parent="KILLED")
    ends = f"SIGINT {first_s:.1f} s"
    if pace.fast:  # the second stop is by SIGTERM, twice
        hurried_s = _two_in_a_row(stage, signal.SIGTERM, ended=1)
    else:
        ends += f", SIGTERM {_sigterm(stage, reached):.1f} s"
        hurried_s = _two_in_a_row(stage, signal.SIGINT, ended=3)

    done = stage.run("sweep", "told.yaml", "--json")
    assert done.returncode == 0, done.stderr
    trials = stage.trials("told")
    assert [trial.state for trial in trials] == ["complete"] * count
    assert all(trial.epochs == 20 and trial.failures == 0 for trial in trials)
    for number, epochs in reached.items():
        trained = stage.trained_epochs("told", number)
        assert [e for e in trained if e <= epochs] == list(range(1, epochs + 1)), "epochs were trained again"
    check_tracking(stage, "told")
    note = f"ended after {ends}, a second one {hurried_s:.1f} s"
    return Outcome(**tally.tally_sweep(stage, "told", count), note=note)


def _sigint(stage: Stage) -> tuple[float, dict[int, int]]:
    driver = stage.start("sweep", "told.yaml")
    stage.wait_for("told", lambda trials: sum(trial.epochs >= 3 for trial in trials) == 2)
    took_s = _stop_by(driver, signal.SIGINT)
    assert driver.returncode == 130
    assert took_s < stretch_limit(30)
    trials = stage.trials("told")
    states = {trial.number: trial.state for trial in trials}
    # Where one lane is long ahead of the other, its trial may have ended before it was told to stop.
    assert set(states.values()) <= {"waiting", "complete"}, states
    assert all((t.epochs, t.attempts) == (20, 1) for t in trials if t.state == "complete"), states
    assert stage.sweep("told").state == "stopped"
    reached = {t.number: t.epochs for t in trials if t.attempts and t.state == "waiting"}
    assert reached, states
    for number in reached:  # by the stop alone: the next that is due comes after 30 s
        assert _checkpoint(stage, number) is not None, f"trial {number} waits without a checkpoint"
    until(lambda: not left_behind(stage.folder), 10)
    return took_s, reached


def _checkpoint(stage: Stage, number: int) -> LoadedCheckpoint | None:
    (folder,) = stage.home.storage.glob(f"told/*/search-{number:04d}/checkpoints")
    return CheckpointStore(folder).load()


def _sigterm(stage: Stage, reached: dict[int, int]) -> float:
    driver = stage.start("sweep", "told.yaml")
    stage.wait_for("told", under_way(2))
    took_s = _stop_by(driver, signal.SIGTERM)
    assert driver.returncode == 143
    assert took_s < stretch_limit(30)
    trials = stage.trials("told")
    assert not {trial.state for trial in trials} & {"running", "failed"}
    for number, epochs in reached.items():  # a stop lost no epoch: the checkpoint is of the last one
        assert trials[number].attempts >= 2
        trained = stage.trained_epochs("told", number)
        assert trained == list(range(1, max(trained) + 1)), "epochs were trained again"
        assert max(trained) >= epochs
    until(lambda: not left_behind(stage.folder), 10)
    return took_s


def _two_in_a_row(stage: Stage, number: signal.Signals, ended: int) -> float:
    driver = stage.start("sweep", "told.yaml")
    stage.wait_for("told", under_way(ended))
    os.killpg(driver.pid, number)
    time.sleep(1)
    took_s = _stop_by(driver, number)
    assert driver.returncode == 128 + number
    assert took_s < stretch_limit(3)
    assert "running" not in {trial.state for trial in stage.trials("told")}
    return took_s


def _stop_by(driver: subprocess.Popen[str], number: signal.Signals) -> float:
    """Sends a signal to the command's whole group, as a terminal does; returns the seconds until it ended."""
    began = time.monotonic()
    os.killpg(driver.pid, number)
    driver.communicate(timeout=600)
    return time.monotonic() - began


# -- F12, F15 ----------------------------------------------------------------------------------------------


@case("F12", "ask for 8 workers of 16 CPU and a GPU", fast=True)
def no_room(folder: Path, pace: Pace) -> Outcome:
    """Refused with the figures before Ray is started; the corrected file may begin."""
    stage = Stage(folder)
    stage.write("mine.py", IMPORTS_IN_NO_LANE)
    stage.write("hopeless.yaml", HOPELESS.replace("{lanes: 2}", "{workers: 8, cpus: 16, gpus: 1}"))
    began = time.monotonic()
    done = stage.run("sweep", "hopeless.yaml", limit_s=60)
    took_s = time.monotonic() - began
    assert done.returncode == 4, done.stderr
    assert "a lane needs 128 CPU, 8 GPU; the cluster has" in done.stderr
    assert took_s < stretch_limit(5)
    assert stage.trials("hopeless") == []
    return Outcome(orphaned=len(left_behind(folder)), detect_s=took_s, note="exit 4 with the figures")


@case("F15", "a trainer that raises at import in every lane", fast=True, ray=True)
def broken_import(folder: Path, pace: Pace) -> Outcome:
    """It stops after five trials, within 60 s, and says the error once, without a traceback."""
    stage = Stage(folder)
    stage.write("mine.py", IMPORTS_IN_NO_LANE)
    stage.write("hopeless.yaml", HOPELESS.replace("{lanes: 2}", "{workers: 8, cpus: 16, gpus: 1}"))
    assert stage.run("sweep", "hopeless.yaml", limit_s=60).returncode == 4
    stage.write("hopeless.yaml", HOPELESS)  # corrected: nothing had begun, so nothing is to be carried on
    began = time.monotonic()
    done = stage.run("sweep", "hopeless.yaml")
    took_s = time.monotonic() - began
    assert took_s < stretch_limit(60)
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("no lane may import this") == 1
    assert "Traceback" not in done.stderr
    trials = [trial for trial in stage.trials("hopeless") if trial.has_ended]
    assert 5 <= len(trials) <= 7
    assert all(trial.state == "failed" and trial.attempts == 1 for trial in trials)
    assert stage.logs("hopeless", 0).count("Traceback") >= 1
    assert stage.sweep("hopeless").state == "failed"
    check_tracking(stage, "hopeless", parent="FAILED")
    counts: dict[str, Any] = {
        "lost": tally.count_lost(stage.trials("hopeless"), len(trials)),
        "duplicated": tally.count_duplicated(stage, "hopeless"),
        "orphaned": tally.count_orphaned(stage, "hopeless", stretch_limit(10)),
    }
    return Outcome(**counts, note=f"stopped after {len(trials)} trials, {took_s:.0f} s; said once; exit 3")
