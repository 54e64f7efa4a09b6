"""A command that ends, or dies, while its own process trains ahead of the lanes."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from infra.ledger.rows import TrialRow
from tests.faults.harness import Stage, left_behind, until

FILE = """
name: early
seed: 1
data: {source: "builtin:cancer"}
objective: {metric: accuracy}
budget: {trials: 2, epochs: 300000}
search: {pruner: none, stack: off}
checkpoint: {every: 1s}
resources: {lanes: 1}
families: {logistic_regression: {}}
"""


def trains_ahead(stage: Stage) -> list[str]:
    return [words for words in left_behind(stage.folder) if "head_start" in words]


def has_trained(epochs: int) -> Callable[[list[TrialRow]], bool]:
    return lambda trials: bool(trials) and trials[0].epochs > epochs


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.slow
def test_command_that_ends_before_its_lanes_are_up_loses_and_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C stops with a checkpoint; a killed one takes what trains along; each goes on from there."""
    stage = Stage(tmp_path)
    stage.write("early.yaml", FILE)
    epochs = 0
    for ending, status in ((signal.SIGINT, 130), (signal.SIGKILL, -9), (signal.SIGINT, 130)):
        driver = stage.start("sweep", "early.yaml")
        stage.wait_for("early", has_trained(epochs + 50))
        assert stage.attempts("early")[-1].lane == "head-start-0"
        assert trains_ahead(stage)
        driver.send_signal(ending)
        _, err = driver.communicate(timeout=120)
        assert driver.returncode == status, err
        until(lambda: not trains_ahead(stage), 0 if ending == signal.SIGINT else 10)
        (trial,) = [one for one in stage.trials("early") if one.attempts]
        epochs = trial.epochs
        if ending == signal.SIGINT:
            assert (stage.sweep("early").state, trial.state, trial.failures) == ("stopped", "waiting", 0)
    first, second, third = stage.attempts("early")
    assert [first.outcome, second.outcome, third.outcome] == ["stopped", "driver-ended", "stopped"]
