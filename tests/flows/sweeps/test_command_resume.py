"""A command in a real lane: killed with its driver, it goes on from its file, and no epoch counts twice."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from infra.ledger import views
from tests.faults.harness import Stage, stretch_limit, until

EPOCHS = 8
SCRIPT = f"""
import pathlib, sys, time
out = pathlib.Path(sys.argv[1])
begin = int((out / "last.txt").read_text()) if "--resume" in sys.argv else 0
for epoch in range(begin, {EPOCHS}):
    time.sleep(0.6)
    print(f"accuracy=0.{{epoch + 1}}", flush=True)
    time.sleep(0.1)
    with (out / "epochs.txt").open("a") as file:
        file.write(f"{{epoch}}\\n")
    (out / "last.txt").write_text(str(epoch + 1))
"""
FILE = f"""
name: scripted
data: {{source: none}}
objective: {{metric: accuracy}}
budget: {{trials: 1, epochs: {EPOCHS}}}
search: {{sampler: random, pruner: none}}
resources: {{lanes: 1}}
families:
  script:
    command: python train.py ${{directory}}
    args: environment
    metrics: {{accuracy: 'accuracy=([0-9.]+)'}}
    resume: --resume ${{directory}}/last.txt
    keep: last.txt
    space: {{rate: {{type: float, low: 0.1, high: 1.0}}}}
"""


@pytest.mark.ray
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_killed_command_goes_on_from_its_file_and_what_it_keeps_is_in_mlflow(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"OMP_NUM_THREADS": "1"})
    stage.write("train.py", SCRIPT)
    stage.write("scripted.yaml", FILE)
    written = stage.home.storage / "scripted/script/search-0000/files/epochs.txt"
    first = stage.start("sweep", "scripted.yaml")
    until(lambda: written.exists() and len(written.read_text().split()) >= 3, 120)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    done = stage.run("sweep", "scripted.yaml", limit_s=stretch_limit(200))
    assert done.returncode == 0, done.stderr
    trained = [int(line) for line in written.read_text().split()]
    assert trained == list(range(EPOCHS))
    (trial,) = stage.trials("scripted")
    assert (trial.state, trial.attempts, trial.objective) == ("complete", 2, [0.8])
    ledger = stage.ledger()
    try:
        told = views.trial_events(ledger, stage.sweep("scripted").id, trial, "reported")
    finally:
        ledger.close()
    reports = [int(event.payload["epoch"]) for event in told]
    assert reports == sorted(set(reports))
    assert len(reports) in {EPOCHS, EPOCHS - 1}  # one may be under way when its process is killed
    (kept,) = stage.home.artifacts.rglob("kept/last.txt")
    assert kept.read_text() == str(EPOCHS)
