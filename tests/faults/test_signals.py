"""Stopping by signal: a clean stop, a quick one, and the same command carries on to the end."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.faults.harness import ROOT, Stage, check_tracking, ended, left_behind, patient, until

FILE = f"""
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


def stop_by(driver: subprocess.Popen[str], number: signal.Signals) -> float:
    """Sends a signal to the command's whole group, as a terminal does; returns the seconds until it ended."""
    began = time.monotonic()
    os.killpg(driver.pid, number)
    driver.communicate(timeout=120)
    return time.monotonic() - began


@pytest.mark.ray
@pytest.mark.slow
def test_sigint_sigterm_and_two_in_a_row(tmp_path: Path) -> None:
    """130 and 143 within 30 s, what ran is kept as waiting; a second signal ends at once; nothing is lost."""
    # A trial of ten seconds: that it runs is known, and that it shall stop is told, within two seconds each.
    stage = Stage(tmp_path, {"SCRIPTED_SLEEP": "0.5"})
    stage.write("told.yaml", FILE)

    driver = stage.start("sweep", "told.yaml")
    stage.wait_for("told", lambda trials: sum(trial.epochs >= 3 for trial in trials) == 2)
    took_s = stop_by(driver, signal.SIGINT)
    print(f"SIGINT: {took_s:.1f} s")
    assert driver.returncode == 130
    assert took_s < patient(30)
    trials = stage.trials("told")
    assert {trial.state for trial in trials} == {"waiting"}
    assert stage.sweep("told").state == "stopped"
    reached = {trial.number: trial.epochs for trial in trials if trial.attempts}
    assert len(reached) == 2
    until(lambda: not left_behind(tmp_path), patient(10))
    check_tracking(stage, "told", parent="KILLED")

    driver = stage.start("sweep", "told.yaml")
    stage.wait_for("told", ended(2))
    took_s = stop_by(driver, signal.SIGTERM)
    print(f"SIGTERM: {took_s:.1f} s")
    assert driver.returncode == 143
    assert took_s < patient(30)
    trials = stage.trials("told")
    assert not {trial.state for trial in trials} & {"running", "failed"}
    for number, epochs in reached.items():  # a stop lost no epoch: the checkpoint is of the last one
        assert trials[number].attempts >= 2
        trained = stage.trained("told", number)
        assert trained == list(range(1, max(trained) + 1)), "epochs were trained again"
        assert max(trained) >= epochs
    until(lambda: not left_behind(tmp_path), patient(10))

    driver = stage.start("sweep", "told.yaml")
    stage.wait_for("told", ended(3))
    os.killpg(driver.pid, signal.SIGINT)
    time.sleep(1)
    took_s = stop_by(driver, signal.SIGINT)
    print(f"second SIGINT: {took_s:.1f} s")
    assert driver.returncode == 130
    assert took_s < patient(3)
    assert "running" not in {trial.state for trial in stage.trials("told")}

    done = stage.run("sweep", "told.yaml", "--json")
    assert done.returncode == 0, done.stderr
    trials = stage.trials("told")
    assert [trial.state for trial in trials] == ["complete"] * 6
    assert all(trial.epochs == 20 and trial.failures == 0 for trial in trials)
    check_tracking(stage, "told")
