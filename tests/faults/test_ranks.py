"""A lane of two ranks: one that fails ends its trial, one that dies restarts the lane; the sweep goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.harness import ROOT, Stage, check_tracking

FILE = f"""
name: pairs
data: {{source: "builtin:digits"}}
objective: {{metric: accuracy}}
budget: {{epochs: 4}}
search: {{sampler: grid, pruner: none}}
resources: {{lanes: 1, workers: 2, cpus: 1, gpus: 0}}
checkpoint: {{every: 1 epoch}}
families:
  image_cnn:
    trials: 2
    options: {{preset: mnist}}
    space: {{learning_rate: {{type: categorical, choices: [1.0e-3, 3.0e-3]}}}}
  tests.faults.ranked:train:
    trials: 3
    space: {{fault: {{type: categorical, choices: [raise, die-once, none]}}}}
code: {{root: {ROOT}}}
"""


@pytest.mark.ray
@pytest.mark.slow
def test_rank_that_raises_or_dies_costs_one_attempt(tmp_path: Path) -> None:
    """An error on rank 1 has its reason and one attempt; a killed rank costs one attempt and no epoch."""
    stage = Stage(tmp_path)
    stage.write("pairs.yaml", FILE)
    done = stage.run("sweep", "pairs.yaml")
    assert done.returncode == 0, done.stderr
    trials = {(t.family, t.params.get("fault")): t for t in stage.trials("pairs")}
    scripted = "tests.faults.ranked.train"

    raised = trials[scripted, "raise"]
    assert (raised.state, raised.attempts) == ("failed", 1)
    assert raised.reason == "error: RuntimeError: rank 1 was told to fail"
    died = trials[scripted, "die-once"]
    assert (died.state, died.attempts, died.failures) == ("complete", 2, 1)
    whole = trials[scripted, "none"]
    assert (whole.state, whole.attempts) == ("complete", 1)
    assert died.metrics["val/total"] == whole.metrics["val/total"] == 8.0

    real = [t for t in stage.trials("pairs") if t.family == "image_cnn"]
    assert [t.state for t in real] == ["complete", "complete"]
    assert all(t.value is not None and t.value > 0.5 for t in real)
    assert {a.outcome for a in stage.attempts("pairs") if a.family == "image_cnn"} <= {
        "complete",
        "collateral",
    }
    check_tracking(stage, "pairs")
