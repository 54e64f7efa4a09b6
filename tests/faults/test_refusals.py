"""What can't work is said soon, once, and leaves nothing running."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults.harness import Stage, check_tracking, left_behind, patient, until

FILE = """
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


@pytest.mark.ray
@pytest.mark.slow
def test_what_can_never_work_is_said_once(tmp_path: Path) -> None:
    """Resources that the machine has not, before Ray is started; then code that no lane can import."""
    stage = Stage(tmp_path)
    stage.write("mine.py", IMPORTS_IN_NO_LANE)
    stage.write("hopeless.yaml", FILE.replace("{lanes: 2}", "{workers: 8, cpus: 16, gpus: 1}"))
    began = time.monotonic()
    done = stage.run("sweep", "hopeless.yaml", limit_s=60)
    took_s = time.monotonic() - began
    assert done.returncode == 4, done.stderr
    assert "a lane needs 128 CPU, 8 GPU; the cluster has" in done.stderr
    assert took_s < patient(5)
    assert left_behind(tmp_path) == []

    stage.write("hopeless.yaml", FILE)  # corrected: nothing had begun, so nothing is to be carried on
    began = time.monotonic()
    done = stage.run("sweep", "hopeless.yaml")
    assert time.monotonic() - began < patient(60)
    assert done.returncode == 3, done.stderr
    assert done.stderr.count("no lane may import this") == 1
    assert "Traceback" not in done.stderr
    trials = [trial for trial in stage.trials("hopeless") if trial.ended]
    assert 5 <= len(trials) <= 7
    assert all(trial.state == "failed" and trial.attempts == 1 for trial in trials)
    assert stage.logs("hopeless", 0).count("Traceback") >= 1
    assert stage.sweep("hopeless").state == "failed"
    check_tracking(stage, "hopeless", parent="FAILED")
    until(lambda: not left_behind(tmp_path), patient(10))
