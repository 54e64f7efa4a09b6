"""What Ray itself loses: a run's controller, a node, the head."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import psutil

from tests.faults import tally
from tests.faults.harness import ROOT, Stage, check_tracking, children, have_ended, kill, stretch_limit
from tests.faults.outcome import Outcome, Pace, case
from tests.raylets import add_node, start_head

FILE = f"""
name: apart
data: {{source: none}}
objective: {{metric: accuracy, direction: maximize}}
budget: {{trials: 8, epochs: 30}}
search: {{sampler: random, pruner: none}}
resources: {{lanes: auto, gpus: 0}}
checkpoint: {{every: 1 epoch}}
families:
  tests.faults.scripted:train:
    space: {{learning_rate: {{type: float, low: 1.0e-5, high: 1.0e-1, log: true}}}}
code: {{root: {ROOT}}}
"""


def _stage_sweep(folder: Path) -> Stage:
    stage = Stage(folder, {"SCRIPTED_SLEEP": "0.4"})
    stage.write("apart.yaml", FILE)
    return stage


def _lanes_running(lanes: int) -> Any:
    return lambda trials: sum(t.state == "running" and t.epochs >= 2 for t in trials) >= lanes


def _times(stage: Stage, at: float) -> dict[str, float]:
    """From the fault to the last of its attempts' ends in the ledger, and to the last of their next steps."""
    struck = [a for a in stage.attempts("apart") if a.outcome in {"worker-died", "driver-ended"}]
    again = [
        min(
            s.at for s in stage.steps("apart", a.number) if s.at > a.ended_at and s.pid != a.lane_facts["pid"]
        )
        for a in struck
    ]
    return {"detect_s": max(a.ended_at for a in struck) - at, "restore_s": min(again) - at}


def _check_trials(stage: Stage) -> dict[str, Any]:
    trials = stage.trials("apart")
    assert [trial.state for trial in trials] == ["complete"] * 8
    assert all(trial.failures <= 1 for trial in trials)
    check_tracking(stage, "apart")
    return tally.tally_sweep(stage, "apart", 8)


@case("F03", "SIGKILL the Train controller of a run", ray=True)
def controller_dies(folder: Path, pace: Pace) -> Outcome:
    """Its lanes go with it; another run takes their place, and the trials go on."""
    stage = _stage_sweep(folder)
    driver = stage.start("sweep", "apart.yaml")
    stage.wait_for("apart", _lanes_running(2))
    (controller,) = children(driver, "ray::TrainController")
    killed_at = time.time()
    kill(controller.pid)
    _, err = driver.communicate(timeout=600)
    assert driver.returncode == 0, err
    return Outcome(**_check_trials(stage), **_times(stage, killed_at), note="a new run for the lanes")


@contextlib.contextmanager
def start_cluster(stage: Stage, head_cpus: int = 2) -> Iterator[Any]:
    """A head of so many processors on this machine, to which raylets can be added."""
    # Lanes have their environment from the raylets.
    with mock.patch.dict(os.environ, stage.environment), start_head(head_cpus) as made:
        yield made


# What a node runs by itself, and the one actor of Ray's that a cluster keeps from its first Ray Train run on.
RAYS_OWN = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent", "ray::_AutoscalingCoordinatorActor")


def _actors() -> int:
    """Actors of clusters of this process that are there though no command runs."""
    deadline = time.monotonic() + tally.ORPHAN_LIMIT_S
    while found := [t for t in _titles() if t.startswith("ray::") and not t.startswith(RAYS_OWN)]:
        if time.monotonic() > deadline:
            print("left behind:", *found, sep="\n  ")
            break
        time.sleep(0.5)
    return len(found)


def _titles() -> Iterator[str]:
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            yield " ".join(process.cmdline())


def _kill_node(node: Any) -> None:
    """SIGKILL to what a node consists of."""
    for info in _services(node):
        kill(info.process.pid)


def _kill_machine(node: Any) -> None:
    """SIGKILL to a node and to all that runs on it, as when its machine is gone: without its raylet alone
    Ray's workers live on for as long as they have work."""
    workers = []
    for info in _services(node):
        with contextlib.suppress(psutil.NoSuchProcess):
            workers += [child.pid for child in psutil.Process(info.process.pid).children(recursive=True)]
    _kill_node(node)
    for pid in workers:
        kill(pid)


def _services(node: Any) -> list[Any]:
    return [info for processes in node.all_processes.values() for info in processes]


@case("F06", "kill -9 of the second node, raylet and workers, with four trials on it", ray=True)
def node_dies(folder: Path, pace: Pace) -> Outcome:
    """They move to the survivor within a minute, from their checkpoints."""
    stage = _stage_sweep(folder)
    with start_cluster(stage) as cluster:
        second = add_node(cluster, 4)
        driver = stage.start("sweep", "apart.yaml", "--address", cluster.address)
        stage.wait_for("apart", _lanes_running(6))
        killed_at = time.time()
        _kill_machine(second)
        _, err = driver.communicate(timeout=600)
        assert driver.returncode == 0, err
        struck = [a for a in stage.attempts("apart") if a.outcome == "worker-died"]
        assert len(struck) == 4, [(a.number, a.outcome) for a in stage.attempts("apart")]
        counts = _check_trials(stage)
        counts["orphaned"] += _actors()
    times = _times(stage, killed_at)
    assert times["restore_s"] < stretch_limit(60)
    return Outcome(**counts, **times, note="4 trials moved, each from its checkpoint")


@case("F10", "SIGKILL the head of the cluster; another cluster, the same command", ray=True)
def head_dies(folder: Path, pace: Pace) -> Outcome:
    """The command says that the cluster is gone; on the next one the sweep carries on."""
    stage = _stage_sweep(folder)
    with start_cluster(stage) as cluster:
        driver = stage.start("sweep", "apart.yaml", "--address", cluster.address)
        stage.wait_for("apart", have_ended(2))
        before = {trial.number: trial.attempts for trial in stage.trials("apart") if trial.has_ended}
        killed_at = time.time()
        _kill_node(cluster.head_node)
        _, err = driver.communicate(timeout=600)
        gone_s = time.time() - killed_at
        assert driver.returncode == 4, (driver.returncode, err)
        assert "Traceback" not in err
    with start_cluster(stage) as cluster:
        done = stage.run("sweep", "apart.yaml", "--address", cluster.address)
        assert done.returncode == 0, done.stderr
        trials = stage.trials("apart")
        assert {number: trials[number].attempts for number in before} == before, "a finished trial ran again"
        counts = _check_trials(stage)
        counts["orphaned"] += _actors()
    return Outcome(**counts, **_times(stage, killed_at), note=f"exit 4 after {gone_s:.0f} s; 0 run again")
