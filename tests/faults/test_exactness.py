"""Real training, one by one: a resumed trial, and one in a fresh lane, has the bits of one that nothing
disturbed. In stacks it has them to rounding (`test_stacks`)."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.head_start.process import SWITCH
from infra.ledger.rows import TrialRow
from tests.faults.harness import Stage, check_tracking, have_ended, kill

EPOCHS = 10
FILE = f"""
name: exact
seed: 5
data: {{source: "builtin:digits"}}
objective: {{metric: accuracy}}
budget: {{trials: 6, epochs: {EPOCHS}}}
search: {{sampler: tpe, pruner: {{name: asha, min_epochs: 2, reduction: 3}}, stack: off}}
resources: {{lanes: 1}}
checkpoint: {{every: 1 epoch}}
families:
  image_cnn:
    options: {{preset: mnist}}
    start_with:
      - {{learning_rate: 3.0e-3, optimizer: adam}}
      - {{learning_rate: 1.0e-9, optimizer: sgd}}
    space:
      extends: image_cnn
      learning_rate: {{type: float, low: 1.0e-9, high: 1.0e-2, log: true}}
"""
CLOCKS = ("seconds", "per_second", "latency_ms", "system/", "memory")


def exact_outcomes(trials: list[TrialRow]) -> list[dict[str, Any]]:
    """All that must be the same to the bit: everything but what a clock or the system measured."""
    return [
        {
            "params": trial.params, "state": trial.state, "objective": trial.objective, "epoch": trial.epoch,
            "epochs": trial.epochs, "seed": trial.seed,
            "metrics": {n: v for n, v in trial.metrics.items() if not any(clock in n for clock in CLOCKS)},
        }
        for trial in trials
    ]  # fmt: skip


@pytest.mark.ray
@pytest.mark.slow
def test_sweep_with_killed_lanes_gives_the_same_bits(tmp_path: Path) -> None:
    """What trains ahead of the lanes is killed in the midst of its first trial, a lane and then the driver
    later: the same command goes on, and no number differs from those of a lane that nothing disturbed."""
    quiet = Stage(tmp_path / "quiet", {SWITCH: "0"})
    quiet.write("exact.yaml", FILE)
    done = quiet.run("sweep", "exact.yaml")
    assert done.returncode == 0, done.stderr
    assert all(attempt.lane.startswith("lanes-") for attempt in quiet.attempts("exact"))
    trials = quiet.trials("exact")
    expected = exact_outcomes(trials)
    assert {metric.partition("/")[0] for metric in expected[0]["metrics"]} >= {"train", "val"}

    good, frozen = trials[0], trials[1]
    assert good.state == "complete"
    assert good.value is not None
    assert good.value > 0.9
    assert (frozen.state, frozen.epochs) == ("pruned", 2), "the pruner does not end what learns nothing"
    assert frozen.value is not None
    assert frozen.value < 0.4, "the learning rate did not reach the optimizer"
    assert sum(trial.epochs for trial in trials) < EPOCHS * len(trials) * 0.8, "no epoch was saved"

    stage = Stage(tmp_path / "killed")
    stage.write("exact.yaml", FILE)
    driver = stage.start("sweep", "exact.yaml")
    for reached in (lambda trials: trials and trials[0].epochs >= 5, have_ended(3)):
        stage.wait_for("exact", reached)
        for pid in stage.lane_pids("exact"):
            kill(pid)
    driver.send_signal(signal.SIGKILL)
    driver.communicate(timeout=600)
    ended = {trial.number: trial.ended_at for trial in stage.trials("exact") if trial.has_ended}
    assert 3 <= len(ended) < len(expected)
    done = replace(stage, environment={SWITCH: "0"}).run("sweep", "exact.yaml")
    assert done.returncode == 0, done.stderr
    trials = stage.trials("exact")
    assert {number: trials[number].ended_at for number in ended} == ended, "a finished one ran again"
    assert trials[0].attempts == 2
    first, *_, last = [attempt.lane for attempt in stage.attempts("exact")]
    assert (first, last.partition("-")[0]) == ("head-start-0", "lanes")
    assert exact_outcomes(trials) == expected
    check_tracking(stage, "exact")
