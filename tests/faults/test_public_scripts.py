"""Public scripts as they are, or with their few lines: killed, carried on, pruned or not, and tracked."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.harness import ROOT, Stage, check_tracking, have_ended, kill, left_behind, until

PORTS = "tests.velodrome.ports"
SCRIPT = ROOT / "tests/velodrome/ports/scripts.py"
TRIALS = 3
ENDED = ("complete", "pruned")
HEAD = """
name: {name}
data: {{source: none}}
objective: {{metric: {metric}, direction: {direction}}}
budget: {{trials: {trials}, epochs: 4}}
search: {{sampler: random, pruner: {{name: asha, min_epochs: 1, reduction: 2}}}}
resources: {{lanes: 1}}
code: {{root: {root}}}
families:
"""
COMMANDS = {
    "mnist": ("${args} --epochs ${epochs}", r"Average loss: (\d.\d+)", "lr: {low: 0.1, high: 1.0}"),
    "vae": ("${args} --epochs ${epochs}", r"Test set loss: ([\d.]+)", "batch-size: {choices: [64, 128]}"),
    "word_language_model": (
        "${args} --epochs ${epochs}", r"valid loss +([\d.]+)",
        "lr: {low: 1.0, high: 9.0}, tied: {choices: [true, false]}",
    ),
    "nanogpt": (
        "${args} --max_iters=500 --out_dir=${directory}", r"step \d+: .*val loss ([\d.]+)",
        "learning_rate: {low: 1.0e-4, high: 1.0e-2}",
    ),
}  # fmt: skip
OBJECTIVES = {
    "objectives:sklearn_simple": """
      classifier: {type: categorical, choices: [SVC, RandomForest]}
      svc_c: {type: float, low: 1.0e-10, high: 1.0e+10, log: true, when: {classifier: SVC}}
      rf_max_depth: {type: float, low: 2, high: 32, log: true, when: {classifier: RandomForest}}""",
    "objectives:lightgbm_simple": """
      num_leaves: {type: int, low: 2, high: 256}
      lambda_l1: {type: float, low: 1.0e-8, high: 10.0, log: true}""",
    "objectives:xgboost_simple": """
      booster: {type: categorical, choices: [gbtree, gblinear]}
      max_depth: {type: int, low: 3, high: 9, step: 2, when: {booster: gbtree}}""",
    "objectives:pytorch_simple": """
      n_units: {type: int, low: 4, high: 128}
      optimizer: {type: categorical, choices: [Adam, RMSprop, SGD]}
      lr: {type: float, low: 1.0e-5, high: 1.0e-1, log: true}""",
    "mnist_trial:main": """
      lr: {type: float, low: 0.1, high: 1.0}""",
    "lightning_module_trial:objective": """
      width: {type: int, low: 4, high: 128, log: true}""",
}


def of_command(name: str) -> str:
    """A script as a family."""
    words, pattern, space = COMMANDS[name]
    named = space.replace("{low", "{type: float, low").replace("{choices", "{type: categorical, choices")
    kind = "    args: equals\n" if name == "nanogpt" else ""
    return (
        f"  {name}:\n    command: python {SCRIPT} {name} {words}\n{kind}"
        f"    metrics: {{loss: {json.dumps(pattern)}}}\n    space: {{{named}}}\n"
    )


FILES = {
    "loss": "".join(map(of_command, COMMANDS)) + f"  {PORTS}.trainer_trial:objective:\n    space:\n"
    "      learning_rate: {type: float, low: 1.0e-4, high: 1.0e-1, log: true}\n",
    "accuracy": "".join(f"  {PORTS}.{name}:\n    space:{space}\n" for name, space in OBJECTIVES.items()),
}


def curve_lengths(stage: Stage, metric: str) -> Counter[int]:
    """How many points each run of a trial has of a metric in MLflow's store."""
    query = "SELECT run_uuid, COUNT(*) FROM metrics WHERE key = ? GROUP BY run_uuid"
    uri = f"file:{stage.home.path / 'mlflow.db'}?mode=ro"
    with contextlib.closing(sqlite3.connect(uri, uri=True)) as store:
        return Counter(count for _, count in store.execute(query, (metric,)))


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.parametrize(("metric", "direction"), [("loss", "minimize"), ("accuracy", "maximize")])
def test_public_scripts_are_killed_carried_on_and_tracked(
    metric: str, direction: str, tmp_path: Path
) -> None:
    stage = Stage(tmp_path, {"PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"})
    head = HEAD.format(name=metric, metric=metric, direction=direction, trials=TRIALS, root=ROOT)
    stage.write(f"{metric}.yaml", head + FILES[metric])
    families = FILES[metric].count("    space")
    with (tmp_path / "first.log").open("w") as log:
        first = stage.start("sweep", f"{metric}.yaml", output=log)
        stage.wait_for(metric, have_ended(2), 240)
        kill(first.pid)
        first.wait()
    ended = [trial for trial in stage.trials(metric) if trial.state in ENDED]
    assert 2 <= len(ended) < families * TRIALS
    again = stage.run("sweep", f"{metric}.yaml")
    assert again.returncode == 0, again.stderr[-3000:]
    trials = stage.trials(metric)
    assert Counter(trial.family for trial in trials) == dict.fromkeys({t.family for t in trials}, TRIALS)
    assert len(trials) == families * TRIALS
    assert {trial.state for trial in trials} <= set(ENDED), again.stdout
    check_tracking(stage, metric)
    assert curve_lengths(stage, f"val/{metric}") == Counter(trial.epochs for trial in trials)
    until(lambda: not left_behind(tmp_path), 90)
