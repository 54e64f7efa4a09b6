"""A real sweep on a PostgreSQL that crashes in its midst and comes back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.harness import ROOT, Stage, check_tracking, have_ended
from tests.postgres import Postgres, run_postgres

AWAY_S = 6.0
FILE = f"""
name: away
data: {{source: none}}
objective: {{metric: accuracy, direction: maximize}}
budget: {{trials: 8, epochs: 6}}
search: {{sampler: random, pruner: {{name: median, startup: 100}}}}
resources: {{lanes: 2}}
ledger: ${{TEST_LEDGER}}
families:
  tests.faults.scripted:train:
    space: {{learning_rate: {{type: float, low: 1.0e-5, high: 1.0e-1, log: true}}}}
code: {{root: {ROOT}}}
"""


@pytest.fixture
def server() -> Iterator[Postgres]:
    """A server of this test's own."""
    with run_postgres() as made:
        yield made


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.slow
def test_sweep_survives_a_crash_of_its_postgres_ledger(tmp_path: Path, server: Postgres) -> None:
    """Every epoch asks the coordinator, which waits: nothing is lost, charged, or trained twice."""
    url = server.database()
    stage = Stage(tmp_path, {"TEST_LEDGER": url, "SCRIPTED_SLEEP": "0.25"}, ledger_url=url)
    stage.write("away.yaml", FILE)
    driver = stage.start("sweep", "away.yaml")
    stage.wait_for("away", have_ended(2))
    server.stop("immediate")
    time.sleep(AWAY_S)
    assert driver.poll() is None, driver.communicate()
    server.start()
    _, err = driver.communicate(timeout=600)
    assert driver.returncode == 0, err

    trials = stage.trials("away")
    assert [trial.state for trial in trials] == ["complete"] * 8
    assert [(trial.attempts, trial.failures) for trial in trials] == [(1, 0)] * 8
    for trial in trials:
        assert stage.trained_epochs("away", trial.number) == [1, 2, 3, 4, 5, 6]
    assert all(attempt.outcome == "complete" for attempt in stage.attempts("away"))
    assert "velodrome@" not in err  # nothing of the URL is shown
    check_tracking(stage, "away")
