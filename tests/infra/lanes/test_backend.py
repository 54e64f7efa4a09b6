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
for make in (make_independent_trainer, make_ranked_trainer):
    trainer = make(lambda config: None, {}, ScalingConfig(), RunConfig(name="n"), own_ray=OWN)
    print(*(type(callback).__name__ for callback in trainer._create_default_callbacks()))
"""


@pytest.mark.slow
@pytest.mark.parametrize("own_ray", [True, False])
def test_no_run_starts_an_actor_that_outlives_it(own_ray: bool) -> None:
    """Ray's cleaner of placement groups is detached, and sees no death where there is no dashboard."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CALLBACKS.replace("OWN", str(own_ray))],
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stderr
    for line in lines:
        assert "PlacementGroupCleanerCallback" not in line
        assert ("DatasetsCallback" in line) is not own_ray
