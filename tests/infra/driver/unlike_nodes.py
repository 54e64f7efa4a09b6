"""A sweep on nodes of 1, 2 and 2 processors of which a stranger holds one: says how many lanes came up where.

python -m tests.infra.driver.unlike_nodes FOLDER
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from flows.sweeps.stop import stop
from flows.sweeps.sweep import sweep
from infra.home import Home
from tests.raylets import add_node, start_head

UP_S = 120.0
CODE = """
import time
import ray
from pathlib import Path

def train(trial):
    node = ray.get_runtime_context().get_node_id()
    Path(__file__).with_name("seen").joinpath(f"{node}-{time.monotonic_ns()}").touch()
    for epoch in range(600):
        time.sleep(0.1)
        trial.report(score=1.0)
        if trial.over():
            return
"""
FILE = """
name: unlike
data: {source: none}
objective: {metric: score, direction: maximize}
budget: {trials: 40, epochs: 600}
search: {pruner: none}
families:
  long:train:
    space: {rate: {type: float, low: 0.0, high: 1.0}}
code: {root: code}
"""


class Stranger:
    """Holds what it was given."""

    def node(self) -> str:
        """Where it is."""
        return ray.get_runtime_context().get_node_id()


def main(folder: Path) -> None:
    """Prints the lanes by node's processors, the stranger's node apart."""
    (folder / "code" / "seen").mkdir(parents=True)
    (folder / "code" / "long.py").write_text(CODE)
    (folder / "unlike.yaml").write_text(FILE)
    with start_head(1) as made:
        try:
            larger = [add_node(made, 2) for _ in range(2)]
            ray.init(address=made.address, log_to_driver=False)
            held = larger[0].node_id
            there = NodeAffinitySchedulingStrategy(node_id=held, soft=False)
            stranger = ray.remote(num_cpus=1)(Stranger).options(scheduling_strategy=there).remote()
            assert ray.get(stranger.node.remote()) == held
            home = Home(folder / "home")
            threading.Thread(target=_stop_when_up, args=(folder, home), daemon=True).start()
            sweep(folder / "unlike.yaml", home=home)
            sizes = {node["NodeID"]: node["Resources"].get("CPU", 0) for node in ray.nodes()}
            seen = [path.name.partition("-")[0] for path in (folder / "code" / "seen").iterdir()]
            free = {node: size - (node == held) for node, size in sizes.items()}
            print("lanes", len(seen), "of", int(sum(free.values())))
            print("each node is full:", all(seen.count(node) == room for node, room in free.items()))
        finally:
            ray.shutdown()


def _stop_when_up(folder: Path, home: Home) -> None:
    """Stops the sweep once four lanes have a trial, and a little later for a fifth that must not come."""
    deadline = time.monotonic() + UP_S
    while time.monotonic() < deadline and len(list((folder / "code" / "seen").iterdir())) < 4:
        time.sleep(0.2)
    time.sleep(2.0)
    stop("unlike", home=home)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
