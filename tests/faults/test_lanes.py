"""Two lanes know nothing of each other: not in what they compute, and not when one of them dies."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from infra.ledger.rows import TrialRow
from tests.faults.harness import ROOT, Stage, check_tracking, kill

FILE = f"""
name: apart
data: {{source: none}}
objective: {{metric: accuracy, direction: maximize}}
budget: {{trials: 2, epochs: 140}}
search: {{sampler: grid, pruner: none}}
resources: {{lanes: 2}}
checkpoint: {{every: 1 epoch}}
families:
  tests.faults.judging:train:
    space: {{always: {{type: categorical, choices: [right, wrong]}}}}
code: {{root: {ROOT}}}
"""


def steps(stage: Stage, always: str) -> list[dict[str, Any]]:
    """What the trial noted of its steps."""
    for path in stage.home.storage.glob("apart/*/search-*/files/steps.jsonl"):
        number = int(path.parts[-3].partition("-")[2])
        if stage.trials("apart")[number].params["always"] == always:
            return [json.loads(line) for line in path.read_text().splitlines()]
    return []


def by_always(trials: list[TrialRow]) -> dict[str, TrialRow]:
    """The two trials by what they are."""
    return {trial.params["always"]: trial for trial in trials}


@pytest.mark.ray
@pytest.mark.slow
def test_one_is_right_one_is_wrong_and_one_dies(tmp_path: Path) -> None:
    """1.0 and 0.0 to the bit; the neighbour of a killed lane misses no step; the killed trial goes on."""
    stage = Stage(tmp_path)
    stage.write("apart.yaml", FILE)
    driver = stage.start("sweep", "apart.yaml")
    stage.wait_for("apart", lambda trials: len(trials) == 2 and all(trial.epochs > 5 for trial in trials))
    victim = next(
        a for a in stage.attempts("apart") if a.number == by_always(stage.trials("apart"))["wrong"].number
    )
    killed_at = time.time()
    kill(victim.lane_facts["pid"])
    _, err = driver.communicate(timeout=180)
    assert driver.returncode == 0, err

    trials = by_always(stage.trials("apart"))
    assert (trials["right"].objective, trials["wrong"].objective) == ([1.0], [0.0])
    assert (trials["right"].attempts, trials["wrong"].attempts) == (1, 2)
    assert (trials["right"].state, trials["wrong"].state) == ("complete", "complete")

    first, second = (a for a in stage.attempts("apart") if a.number == trials["wrong"].number)
    assert first.outcome == "worker-died"
    assert first.ended_at - killed_at < 5, "the death was noticed too late"

    wrong, right = steps(stage, "wrong"), steps(stage, "right")
    resumed = [step for step in wrong if step["pid"] != first.lane_facts["pid"]]
    print(
        f"detected after {first.ended_at - killed_at:.2f} s, next step after {resumed[0]['at'] - killed_at:.2f} s"
    )
    assert resumed[0]["at"] - killed_at < 60  # 9 s where nothing else runs
    assert resumed[0]["epoch"] >= 5, "it began anew instead of from its checkpoint"
    assert resumed[0]["epoch"] >= max(s["epoch"] for s in wrong if s not in resumed) - 1
    assert trials["wrong"].metrics["val/made"] <= 140

    assert {step["pid"] for step in right} == {right[0]["pid"]}
    assert [step["epoch"] for step in right] == list(range(140))
    assert max(after["at"] - before["at"] for before, after in pairwise(right)) < 5, "the neighbour waited"
    assert not any(step["distributed"] or step["ranks"] for step in right + wrong)
    check_tracking(stage, "apart")
