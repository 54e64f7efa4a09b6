"""Lanes of two ranks on a head without processors and nodes of one each, beside one node of two; then one of
the nodes dies under them: says what was the same and what went on.

python -m tests.infra.lanes.ranks_over_nodes FOLDER
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.cluster_utils import Cluster

from flows.config.lookup import open_sweep
from flows.sweeps.sweep import sweep
from infra.home import Home
from infra.ledger import views
from infra.ledger.rows import AttemptRow
from infra.sharing.growth import has_autoscaler

FILE = """
name: ranks
data: {{source: builtin:digits}}
objective: {{metric: loss, direction: minimize}}
budget: {{trials: {trials}, epochs: {epochs}}}
search: {{pruner: none}}
checkpoint: {{every: 1 epoch}}
families:
  image_cnn: {{resources: {{workers: 2, cpus: 1}}}}
"""
Curves = dict[int, list[tuple[int, float]]]


def run(folder: Path, name: str, address: str, *, trials: int, epochs: int) -> Home:
    """One sweep to its end, in a home of its own."""
    home = Home(folder / name)
    file = folder / f"{name}.yaml"
    file.write_text(FILE.format(trials=trials, epochs=epochs))
    sweep(file, home=home, address=address)
    return home


def read(home: Home) -> tuple[Curves, list[AttemptRow]]:
    """Each trial's losses by epoch, and all attempts."""
    ledger, row = open_sweep("ranks", home)
    try:
        trials = views.trials(ledger, row.id)
        curves = {
            trial.number: [
                (event.payload["epoch"], event.payload["metrics"]["val/loss"])
                for event in views.trial_events(ledger, row.id, trial, "reported")
            ]
            for trial in trials
        }
        return curves, [a for t in trials for a in views.attempts(ledger, row.id, t.family, t.number)]
    finally:
        ledger.close()


def kill_one_under_way(folder: Path, nodes: list[Any]) -> None:
    """SIGKILL to a node and all that runs on it, once a trial has some epochs and a rank on that node."""
    home = Home(folder / "dies")
    while True:
        time.sleep(0.3)
        try:
            curves, attempts = read(home)
        except Exception:  # there is no sweep yet
            continue
        if curves and len(curves[0]) >= 3:
            break
    first = next(node for node in nodes if node.node_id == attempts[0].lane_facts["node"])
    services = [info.process.pid for processes in first.all_processes.values() for info in processes]
    doomed = [child for pid in services for child in psutil.Process(pid).children(recursive=True)]
    for process in [*map(psutil.Process, services), *doomed]:
        process.kill()


def main(folder: Path) -> None:
    """Prints what became of them."""
    temp = tempfile.mkdtemp(prefix="vr-")
    head = {"num_cpus": 0, "temp_dir": temp, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=head)
    try:
        apart = [made.add_node(num_cpus=1) for _ in range(2)]
        ray.init(address=made.address, log_to_driver=False)
        print("autoscaler:", has_autoscaler())
        ray.shutdown()
        over_two, _ = read(run(folder, "apart", made.address, trials=2, epochs=3))
        third = made.add_node(num_cpus=1)
        killer = threading.Thread(target=kill_one_under_way, args=(folder, [*apart, third]), daemon=True)
        killer.start()
        curves, attempts = read(run(folder, "dies", made.address, trials=1, epochs=30))
        print("attempts", [attempt.outcome for attempt in attempts])
        print("epochs", sorted({epoch for epoch, _ in curves[0]}) == list(range(1, 31)))
        for node in (*apart, third):
            if node.any_processes_alive():
                made.remove_node(node, allow_graceful=False)
        made.add_node(num_cpus=2)
        on_one, _ = read(run(folder, "together", made.address, trials=2, epochs=3))
        print("losses are the same:", over_two == on_one, over_two, on_one)
    finally:
        ray.shutdown()
        made.shutdown()
        shutil.rmtree(temp, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
