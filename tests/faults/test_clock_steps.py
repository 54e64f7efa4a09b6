"""The clock of a running sweep is set forward and back, by a second and by hours."""

from __future__ import annotations

import shutil
import subprocess
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.faults.clock import STEPS_S, SteppedClock
from tests.faults.harness import (
    ROOT,
    Stage,
    check_tracking,
    children,
    have_ended,
    kill,
    left_behind,
    table,
    under_way,
    until,
)

FILE = f"""
name: survive
seed: 3
data: {{source: none}}
objective: {{metric: accuracy, direction: maximize}}
budget: {{trials: 14, epochs: 5, minutes: 30}}
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


@pytest.fixture
def quiet(tmp_path: Path) -> Stage:
    """The same sweep with a clock that nobody sets."""
    stage = Stage(tmp_path / "quiet")
    stage.write("survive.yaml", FILE)
    done = stage.run("sweep", "survive.yaml")
    assert done.returncode == 0, done.stderr
    return stage


def finish(driver: subprocess.Popen[str]) -> None:
    """The command comes to its end, and well."""
    _, err = driver.communicate(timeout=600)
    assert driver.returncode == 0, err


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler (apt-get install gcc)")
def test_clock_that_is_set_while_a_sweep_runs_changes_nothing(tmp_path: Path, quiet: Stage) -> None:
    """Steps under way, then the coordinator and the driver die between two steps; the table is the quiet
    run's, no attempt but those that were killed was repeated, and a second driver is refused all the time."""
    clock = SteppedClock(tmp_path)
    stage = Stage(tmp_path / "stepped", environment={**clock.environment, "SCRIPTED_SLEEP": "3"})
    stage.write("survive.yaml", FILE)
    driver = stage.start("sweep", "survive.yaml")
    for done, step_s in enumerate(STEPS_S[:2], 1):
        stage.wait_for("survive", under_way(done))
        clock.step(step_s)
        time.sleep(2.5)  # more than a heartbeat
        assert stage.run("sweep", "survive.yaml").returncode == 4, "a second driver took the sweep"
    stage.wait_for("survive", under_way(4))
    clock.step(STEPS_S[2])
    (coordinator,) = children(driver, "CoordinatorActor")
    kill(coordinator.pid)
    stage.wait_for("survive", under_way(7))
    clock.step(STEPS_S[3])
    kill(driver.pid)
    driver.communicate(timeout=600)
    driver = stage.start("sweep", "survive.yaml")
    stage.wait_for("survive", under_way(9))
    clock.step(STEPS_S[4])
    finish(driver)

    trials = stage.trials("survive")
    assert have_ended(14)(trials)
    assert table(trials) == table(quiet.trials("survive"))
    assert set(stage.ends("survive").values()) == {1}
    again = [
        attempt for attempt in stage.attempts("survive") if attempt.outcome not in ("complete", "pruned")
    ]
    assert len(again) <= 1, f"more than the driver's death cost an attempt: {again}"
    assert all(0 <= trial.seconds < 240 for trial in trials)
    assert all((trial.ended_at or 0) >= (trial.started_at or 0) for trial in trials)
    at = [step.at for trial in trials for step in stage.steps("survive", trial.number)]
    assert max(b - a for a, b in pairwise(at)) > 3_000, "no lane saw a step"
    assert min(b - a for a, b in pairwise(at)) < -3_000, "no lane saw a step back"
    check_tracking(stage, "survive")
    until(lambda: not left_behind(tmp_path / "stepped"), 90)
