"""Every kind of failure in one sweep: each has its class, its attempts and its traces; others unharmed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults.harness import ROOT, Stage, check_tracking
from tests.spread import EVERY_WRITE

# Three deaths take three new lanes: `test_trial_that_kills_its_lane_fails_after_three_deaths` has them
# without one.
DEATHS = ["exit"] if EVERY_WRITE else []
FAULTS = ["none", "raise", "nan", "memory", "sys-exit", *DEATHS, "exit-once", "hang"]
FILE = f"""
name: broken
data: {{source: none}}
objective: {{metric: accuracy, direction: maximize}}
budget: {{trials: {len(FAULTS)}, epochs: 3}}
search: {{sampler: grid, pruner: none}}
resources: {{lanes: 2}}
checkpoint: {{every: 1 epoch}}
limits: {{stall: 3s}}
families:
  tests.faults.scripted:train:
    space:
      learning_rate: 0.003
      fault: {{type: categorical, choices: {json.dumps(FAULTS)}}}
code: {{root: {ROOT}}}
"""


@pytest.mark.ray
@pytest.mark.slow
def test_failed_trials_are_classed_and_retried_by_cause(tmp_path: Path) -> None:
    """What cannot work is tried once, what may be the machine's fault three times."""
    stage = Stage(tmp_path)
    stage.write("broken.yaml", FILE)
    done = stage.run("sweep", "broken.yaml")
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    asked = stage.run("status", "broken", "--json")
    document = json.loads(asked.stdout)
    assert (document["sweep"], document["state"]) == ("broken", "finished")
    trials = {trial["params"]["fault"]: trial for trial in document["trials"]}
    found = {
        fault: (t["state"], t["attempts"], (t["reason"] or "").partition(":")[0])
        for fault, t in trials.items()
    }
    assert found == {
        "none": ("complete", 1, ""),
        "raise": ("failed", 1, "error"),
        "nan": ("failed", 1, "not-finite"),
        "memory": ("failed", 1, "out-of-memory"),
        "sys-exit": ("failed", 1, "error"),
        **dict.fromkeys(DEATHS, ("failed", 3, "worker-died")),
        "exit-once": ("complete", 2, ""),
        "hang": ("failed", 3, "timeout"),
    }
    assert trials["raise"]["reason"] == "error: RuntimeError: told to fail"
    assert trials["none"]["value"] == trials["exit-once"]["value"] == document["best"]["value"]
    assert trials["raise"]["epochs"] == 1
    assert set(trials["none"]) == {
        "family", "number", "state", "params", "value", "epochs", "attempts", "seconds", "reason",
        "mlflow_run_id", "place",
    }  # fmt: skip
    assert all(trial["mlflow_run_id"] for trial in document["trials"])

    logs = {fault: stage.logs("broken", trial["number"]) for fault, trial in trials.items()}
    assert "Traceback" in logs["raise"]
    assert "told to fail" in logs["raise"]
    assert 'scripted.py", line' in logs["hang"], "no stacks of the thread that hung"
    assert "_misbehave" in logs["hang"]
    check_tracking(stage, "broken")
