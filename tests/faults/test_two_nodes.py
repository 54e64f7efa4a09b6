"""A lane whose two ranks stand on two nodes trains what one on a single node trains."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.ledger import views
from tests.faults.cases.clusters import start_cluster
from tests.faults.harness import Stage, check_tracking
from tests.faults.test_exactness import CLOCKS
from tests.raylets import add_node

FILE = """
name: pair
seed: 4
data: {source: "builtin:digits"}
objective: {metric: accuracy}
budget: {epochs: 4}
search: {sampler: grid, pruner: none, stack: off}
resources: {lanes: 1, workers: 2, cpus: 1, gpus: 0}
families:
  image_cnn:
    options: {preset: mnist}
    space: {learning_rate: 3.0e-3, optimizer: {type: categorical, choices: [sgd, adam, rmsprop]}}
"""


def told_values(stage: Stage) -> list[list[dict[str, Any]]]:
    """All losses and metrics of each trial, by epoch, as they were told."""
    ledger = stage.ledger()
    try:
        sweep_id = stage.sweep("pair").id
        events = [views.trial_events(ledger, sweep_id, trial, "reported") for trial in stage.trials("pair")]
    finally:
        ledger.close()
    return [
        [
            {n: v for n, v in event.payload["metrics"].items() if not any(clock in n for clock in CLOCKS)}
            for event in of_trial
        ]
        for of_trial in events
    ]


@pytest.mark.ray
@pytest.mark.long
def test_ranks_on_two_nodes_tell_the_losses_of_ranks_on_one(tmp_path: Path) -> None:
    told = {}
    for name, sizes in (("one", (2,)), ("two", (1, 1))):
        stage = Stage(tmp_path / name)
        stage.write("pair.yaml", FILE)
        with start_cluster(stage, head_cpus=0) as cluster:
            for size in sizes:
                add_node(cluster, size)
            done = stage.run("sweep", "pair.yaml", "--address", cluster.address)
        assert done.returncode == 0, done.stderr
        check_tracking(stage, "pair")
        told[name] = told_values(stage)
    assert [len(of_trial) for of_trial in told["one"]] == [4, 4, 4]
    assert {"train/loss", "val/loss", "val/accuracy"} <= told["one"][0][0].keys()
    assert told["one"] == told["two"]
