"""A cluster that has no worker, and Ray's own autoscaler with machines in namespaces for nodes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.cluster.clusters import scripted_sweep, start_cluster
from tests.cluster.node_provider import Growing
from tests.faults.harness import until

pytestmark = [pytest.mark.ray, pytest.mark.cluster, pytest.mark.long]
TRIALS = 8


@pytest.mark.parametrize("version", [1, 2])
def test_sweep_makes_a_cluster_grow_from_nothing_and_lets_it_go(tmp_path: Path, version: int) -> None:
    environment = {"AUTOSCALER_UPDATE_INTERVAL_S": "2", "RAY_enable_autoscaler_v2": str(version - 1)}
    with start_cluster(tmp_path, {}, SCRIPTED_SLEEP="0.5", **environment) as cluster:
        growing = Growing(cluster, most=2)
        try:
            (cluster.head.home / "grow.yaml").write_text(scripted_sweep("grow", TRIALS, 10))
            driver = cluster.sweep("grow.yaml")
            out, err = driver.communicate(timeout=900)
            assert driver.returncode == 0, f"{out}{err}"
            assert [trial.state for trial in cluster.stage.trials("grow")] == ["complete"] * TRIALS
            assert set(cluster.stage.ends("grow").values()) == {1}
            hosts = Counter(attempt.lane_facts["host"] for attempt in cluster.stage.attempts("grow"))
            assert "head" not in hosts
            assert len(hosts) == 2
            until(lambda: growing.counts[-1][1] == 0, 300)
            print(growing.counts)
        finally:
            growing.close()
