"""One lane, TPE and ASHA: whoever is killed, the final table is that of a quiet run, in every trial."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.faults.harness import Stage, children, ended, kill, table, until

FILE = """
name: survive
seed: 3
data: {source: none}
objective: {metric: accuracy, direction: maximize}
budget: {trials: 14, epochs: 5}
search: {sampler: tpe, pruner: {name: asha, min_epochs: 1, reduction: 2}}
resources: {lanes: 1}
checkpoint: {every: 1 epoch}
families:
  tests.faults.scripted:train:
    space:
      learning_rate: {type: float, low: 1e-5, high: 1e-1, log: true}
      optimizer: {type: categorical, choices: [sgd, adam]}
      momentum: {type: float, low: 0, high: 0.9, when: {optimizer: sgd}}
code: {root: CODE}
"""


def staged(folder: Path) -> Stage:
    """A folder with the sweep file."""
    folder.mkdir(parents=True, exist_ok=True)
    root = Path(__file__).resolve().parents[2]
    stage = Stage(folder, {"SCRIPTED_SLEEP": "0.15"})
    stage.write("survive.yaml", FILE.replace("CODE", str(root)))
    return stage


@pytest.mark.ray
@pytest.mark.slow
def test_driver_lane_and_coordinator_die_and_nothing_shows(tmp_path: Path) -> None:
    """kill -9 of the driver, of the lane, of the coordinator; then the same table as without."""
    quiet = staged(tmp_path / "quiet")
    done = quiet.run("sweep", "survive.yaml", "--json")
    assert done.returncode == 0, done.stderr
    expected = table(quiet.trials("survive"))
    assert {row[2] for row in expected} == {"complete", "pruned"}

    stage = staged(tmp_path / "killed")
    driver = stage.start("sweep", "survive.yaml")
    stage.wait_for("survive", ended(2))
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    before = {trial.number: trial.attempts for trial in stage.trials("survive") if trial.ended}

    driver = stage.start("sweep", "survive.yaml")
    stage.wait_for("survive", ended(4))
    (lane,) = stage.lane_pids("survive")
    kill(lane)
    stage.wait_for("survive", ended(7))
    (coordinator,) = children(driver, "ray::CoordinatorActor")
    kill(coordinator.pid)
    _, err = driver.communicate(timeout=180)
    assert driver.returncode == 0, err

    trials = stage.trials("survive")
    assert table(trials) == expected
    assert {number: trials[number].attempts for number in before} == before, "a finished trial ran again"
    assert sum(trial.failures for trial in trials) <= 1  # the killed lane's alone is charged
    for attempt in stage.attempts("survive"):
        assert attempt.ended_at is not None
    until(lambda: not _left(tmp_path), 95)


def _left(folder: Path) -> list[str]:
    import psutil

    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        environ = process.info["environ"] or {}
        if str(folder) in environ.get("VELODROME_HOME", ""):
            found.append(" ".join(process.info["cmdline"] or []))
    return found
