"""What a run's trainer leaves out of Ray Train's."""

from __future__ import annotations

import subprocess
import sys

import pytest

CALLBACKS = """
import os
os.environ["RAY_TRAIN_V2_ENABLED"] = "1"
from ray.train.v2.api.config import RunConfig, ScalingConfig
from infra.lanes.backend import make_independent_trainer
from infra.lanes.ranks import make_ranked_trainer
for own in (True, False):
    for make in (make_independent_trainer, make_ranked_trainer):
        trainer = make(lambda config: None, {}, ScalingConfig(), RunConfig(name="n"), own_ray=own)
        print(own, *(type(callback).__name__ for callback in trainer._create_default_callbacks()))
"""


@pytest.mark.slow
def test_run_starts_no_actor_that_outlives_it() -> None:
    """Ray's cleaner of placement groups is detached, and sees no death where there is no dashboard."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CALLBACKS], capture_output=True, text=True, timeout=600
    )
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["True", "True", "False", "False"], done.stderr
    for line in lines:
        assert "PlacementGroupCleanerCallback" not in line
        assert ("DatasetsCallback" in line) is line.startswith("False")
