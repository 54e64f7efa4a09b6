"""From a real sweep to confirmations that a kill -9 cuts in two, and what can be made of them afterwards."""

from __future__ import annotations

import json
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from infra.storage.example_scores import read_scores
from tests.faults.harness import Stage, until

EPOCHS = 6
FILE = f"""
name: again
seed: 5
data: {{source: "builtin:digits"}}
objective: {{metric: accuracy}}
budget: {{trials: 2, epochs: {EPOCHS}}}
search: {{sampler: random, pruner: none}}
resources: {{lanes: 1}}
families:
  image_cnn:
    options: {{preset: mnist}}
    start_with:
      - {{learning_rate: 3.0e-3, optimizer: adam}}
      - {{learning_rate: 1.0e-2, optimizer: sgd}}
"""


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.slow
def test_confirm_killed_half_way_resumes(tmp_path: Path) -> None:
    """Two candidates on two seeds; the driver dies after the first; nothing is trained or read twice."""
    stage = Stage(tmp_path)
    stage.write("again.yaml", FILE)
    done = stage.run("sweep", "again.yaml")
    assert done.returncode == 0, done.stderr
    words = ("confirm", "again", "--top", "2", "--seeds", "2", "--json")
    driver = stage.start(*words)
    until(lambda: any(trial.has_ended for trial in stage.trials("again", role="confirm")), 600)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    before = {
        trial.number: trial.ended_at for trial in stage.trials("again", role="confirm") if trial.has_ended
    }
    assert 1 <= len(before) < 4

    ended = stage.run(*words)
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    trials = stage.trials("again", role="confirm")
    assert {number: trials[number].ended_at for number in before} == before, "a finished one ran again"
    assert [trial.state for trial in trials] == ["complete"] * 4
    assert len({trial.seed for trial in trials}) == 2
    check_document(found)
    for trial in trials:
        scores = read_scores(stage.home.storage, trial)
        assert scores["accuracy"].mean() == pytest.approx(trial.metrics["test/accuracy"])
        assert (stage.home.storage / str(trial.model) / "manifest.json").is_file()
    assert tracked_roles(stage, "again") == {"search": 2, "confirm": 4}


def check_document(found: dict) -> None:
    """Both rows have both seeds, ranked by validation, tested by one reading."""
    assert found["test_reads"] == 1
    assert [len(row["validation"]["values"]) for row in found["rows"]] == [2, 2]
    means = [row["validation"]["mean"] for row in found["rows"]]
    assert means == sorted(means, reverse=True)
    assert found["rows"][0]["test"]["over"] == "seeds and examples"
    assert found["rows"][0]["test"]["mean"] > 0.8


def tracked_roles(stage: Stage, name: str) -> dict[str, int]:
    """Finished children of the sweep's parent run in MLflow, by the tag that tells what they are."""
    (top,) = [run for run in stage.tracking_runs(name) if run.parent is None]
    query = """
        SELECT role.value, COUNT(*) FROM runs
        JOIN tags AS parent ON parent.run_uuid = runs.run_uuid AND parent.key = 'mlflow.parentRunId'
        JOIN tags AS role ON role.run_uuid = runs.run_uuid AND role.key = 'velodrome.role'
        WHERE parent.value = ? AND runs.status = 'FINISHED' GROUP BY role.value
    """
    uri = f"file:{stage.home.path / 'mlflow.db'}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True)) as connection:
        return dict(connection.execute(query, (top.id,)).fetchall())
