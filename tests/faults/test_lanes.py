"""Two lanes know nothing of each other: not in what they compute, and not when one of them dies."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from infra.ledger.rows import TrialRow
from tests.faults.harness import ROOT, Stage, check_tracking, kill, stretch_limit

FILE = f"""
name: apart
data: {{source: none}}
objective: {{metric: accuracy, direction: maximize}}
budget: {{trials: 2, epochs: 140}}
search: {{sampler: grid, pruner: none}}
resources: {{lanes: 2, cpus: 0.5}}
checkpoint: {{every: 1 epoch}}
families:
  tests.faults.judging:train:
    space:
      always: {{type: categorical, choices: [right, wrong]}}
code: {{root: {ROOT}}}
"""


def steps(stage: Stage, number: int) -> list[dict[str, Any]]:
    """What the trial noted of its steps."""
    (path,) = stage.home.storage.glob(f"apart/*/search-{number:04d}/files/steps.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.slow
def test_killed_lane_leaves_its_neighbour_and_metrics_untouched(tmp_path: Path) -> None:
    """1.0 and 0.0 to the bit; the neighbour of the killed lane misses no step; the killed trial goes on."""
    stage = Stage(tmp_path)
    stage.write("apart.yaml", FILE)
    driver = stage.start("sweep", "apart.yaml")
    stage.wait_for("apart", lambda trials: len(trials) == 2 and all(trial.epochs > 5 for trial in trials))
    wrong = {trial.number for trial in stage.trials("apart") if trial.params["always"] == "wrong"}
    victims = [attempt.lane_facts["pid"] for attempt in stage.attempts("apart") if attempt.number in wrong]
    killed_at = time.time()
    for pid in victims:
        kill(pid)
    _, err = driver.communicate(timeout=600)
    assert driver.returncode == 0, err

    for trial in stage.trials("apart"):
        noted = steps(stage, trial.number)
        assert trial.state == "complete"
        assert not any(step["distributed"] or step["ranks"] for step in noted)
        if trial.number in wrong:
            assert (trial.objective, trial.attempts, trial.failures) == ([0.0], 2, 1)
            check_killed(stage, trial, noted, killed_at)
        else:
            assert (trial.objective, trial.attempts) == ([1.0], 1)
            assert [step["epoch"] for step in noted] == list(range(140))
            gaps = [after["at"] - before["at"] for before, after in pairwise(noted)]
            assert max(gaps) < stretch_limit(3), "a neighbour waited"
    check_tracking(stage, "apart")


def check_killed(stage: Stage, trial: TrialRow, noted: list[dict[str, Any]], killed_at: float) -> None:
    """Noticed at once, back soon, and on from its last checkpoint."""
    first = next(attempt for attempt in stage.attempts("apart") if attempt.number == trial.number)
    assert first.outcome == "worker-died"
    assert first.ended_at is not None
    before = [step for step in noted if step["pid"] == first.lane_facts["pid"]]
    after = [step for step in noted if step["pid"] != first.lane_facts["pid"]]
    detected_s, restored_s = first.ended_at - killed_at, after[0]["at"] - killed_at
    print(f"trial {trial.number}: detected after {detected_s:.2f} s, next step after {restored_s:.2f} s")
    assert detected_s < stretch_limit(5)
    assert restored_s < stretch_limit(30)
    assert before[-1]["epoch"] - 1 <= after[0]["epoch"] <= before[-1]["epoch"] + 1
