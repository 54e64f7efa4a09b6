"""Real stacks: the table of one by one to rounding, and the same after a lane was killed in their midst."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.ledger.rows import TrialRow
from tests.faults.harness import Stage, check_tracking, kill

FILE = """
name: stacked
seed: 3
data: {{source: "builtin:cancer"}}
objective: {{metric: accuracy}}
budget: {{trials: 10, epochs: {epochs}}}
search: {{sampler: qmc, pruner: {{name: asha, min_epochs: 20, reduction: 3}}, stack: {stack}}}
resources: {{lanes: 1}}
checkpoint: {{every: 20 epochs}}
families:
  logistic_regression:
    space:
      learning_rate: {{type: float, low: 1.0e-4, high: 0.5, log: true}}
      optimizer: {{type: categorical, choices: [sgd, adam, rmsprop]}}
"""


def run(folder: Path, *, epochs: int, stack: str) -> Stage:
    stage = Stage(folder)
    stage.write("stacked.yaml", FILE.format(epochs=epochs, stack=stack))
    done = stage.run("sweep", "stacked.yaml")
    assert done.returncode == 0, done.stderr
    return stage


def assert_same_to_rounding(found: list[TrialRow], expected: list[TrialRow]) -> None:
    assert [t.params for t in found] == [t.params for t in expected]
    assert [t.state for t in found] == [t.state for t in expected]
    for one, other in zip(found, expected, strict=True):
        assert one.value == pytest.approx(other.value, abs=0.01)
        assert one.metrics["val/loss"] == pytest.approx(other.metrics["val/loss"], rel=1e-3)


@pytest.mark.ray
@pytest.mark.long
def test_stacked_sweep_gives_the_table_of_one_by_one_killed_or_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VELODROME_HEAD_START", "0")  # what trains ahead of the lanes does so one by one
    alone = run(tmp_path / "alone", epochs=200, stack="off").trials("stacked")
    quiet = run(tmp_path / "quiet", epochs=200, stack="4")
    trials = quiet.trials("stacked")
    assert {t.facts["stack"] for t in trials} == {4}
    assert any(t.state == "pruned" for t in trials)
    assert_same_to_rounding(trials, alone)

    stage = Stage(tmp_path / "killed")
    stage.write("stacked.yaml", FILE.format(epochs=200, stack=4))
    driver = stage.start("sweep", "stacked.yaml")
    stage.wait_for("stacked", lambda trials: any(t.state == "running" and t.epochs >= 20 for t in trials))
    for pid in set(stage.lane_pids("stacked")):
        kill(pid)
    _, err = driver.communicate(timeout=600)
    assert driver.returncode == 0, err
    after = stage.trials("stacked")
    assert sum(t.attempts > 1 for t in after) > 1, "no stack was killed"
    assert all(t.failures == 0 for t in after), "a member was charged for its stack"
    assert all(count == 1 for count in stage.ends("stacked").values())
    assert_same_to_rounding(after, trials)
    check_tracking(stage, "stacked")
