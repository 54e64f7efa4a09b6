"""ASHA that goes on with paused trials, in real lanes: the same table where the lane died half-way."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.ledger.rows import TrialRow
from tests.faults.harness import Stage, check_tracking, kill, table

# The third best waits, and goes on when enough of the worst have come.
RATES = ("1.0e-2", "5.0e-3", "2.0e-3", *(f"{n}.0e-6" for n in range(9, 3, -1)))
STARTS = "".join(f"      - {{learning_rate: {rate}, optimizer: adam}}\n" for rate in RATES)
FILE = f"""
name: pausing
seed: 4
data: {{source: "builtin:cancer"}}
objective: {{metric: loss}}
budget: {{trials: {len(RATES)}, epochs: 180}}
search: {{sampler: random, pruner: {{name: asha, min_epochs: 20, reduction: 3, resume: true}}, stack: off}}
resources: {{lanes: 1}}
checkpoint: {{every: 20 epochs}}
families:
  logistic_regression:
    start_with:
{STARTS}    space:
      learning_rate: {{type: float, low: 1.0e-6, high: 0.5, log: true}}
      optimizer: {{type: categorical, choices: [sgd, adam, rmsprop]}}
"""


def have_paused(trials: list[TrialRow]) -> bool:
    """Two trials wait at a rung, and another one is under way."""
    waiting = [trial for trial in trials if trial.state == "waiting" and trial.attempts]
    return len(waiting) >= 2 and any(trial.state == "running" and trial.epochs >= 3 for trial in trials)


@pytest.mark.ray
@pytest.mark.long
def test_sweep_that_goes_on_with_paused_trials_gives_the_same_table_killed_or_not(tmp_path: Path) -> None:
    quiet = Stage(tmp_path / "quiet")
    quiet.write("pausing.yaml", FILE)
    done = quiet.run("sweep", "pausing.yaml")
    assert done.returncode == 0, done.stderr
    trials = quiet.trials("pausing")
    assert [trial.number for trial in trials if trial.attempts > 1] == [2], "others went on, or none"
    assert {trial.state for trial in trials} == {"complete", "pruned"}

    stage = Stage(tmp_path / "killed")
    stage.write("pausing.yaml", FILE)
    driver = stage.start("sweep", "pausing.yaml")
    stage.wait_for("pausing", have_paused)
    for pid in set(stage.lane_pids("pausing")):
        kill(pid)
    _, err = driver.communicate(timeout=600)
    assert driver.returncode == 0, err
    after = stage.trials("pausing")
    assert table(after) == table(trials)
    assert all(count == 1 for count in stage.ends("pausing").values())
    check_tracking(stage, "pausing")
