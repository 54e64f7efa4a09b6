"""A notebook's process with a Ray and an actor of its own, which runs a sweep: says what is left of both.

python -m tests.infra.driver.notebook FOLDER
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import ray

from flows.sweeps.sweep import sweep
from infra.errors import ClusterUnavailable
from infra.home import Home

ACTORS_END_S = 30.0
CODE = """
def train(trial):
    for epoch in range(1, 3):
        trial.report(epoch=epoch, score=1.0)
"""
FILE = """
name: quick
data: {source: none}
objective: {metric: score, direction: maximize}
budget: {trials: 2, epochs: 2}
resources: {lanes: 1}
families:
  quick:train:
    space: {rate: {type: float, low: 0.0, high: 1.0}}
code: {root: code}
"""


class Counter:
    """The notebook's own actor."""

    def answer(self) -> str:
        """Whether it lives."""
        return "alive"


def living_actors() -> list[str]:
    """What lives on the notebook's Ray, once that of a sweep has had time to end; without Ray's own."""
    deadline = time.monotonic() + ACTORS_END_S
    while True:
        living = [actor for actor in ray._private.state.actors().values() if actor["State"] != "DEAD"]
        names = [actor["ActorClassName"] for actor in living if actor["ActorClassName"][0] != "_"]
        if len(names) <= 1 or time.monotonic() > deadline:
            return names
        time.sleep(0.5)


def write_sweep(folder: Path) -> Path:
    """A sweep file of two quick trials."""
    (folder / "code").mkdir()
    (folder / "code" / "quick.py").write_text(CODE)
    (folder / "quick.yaml").write_text(FILE)
    return folder / "quick.yaml"


def main(folder: Path) -> None:
    """Sweeps on the Ray that runs, then asks for another one."""
    # A Ray of its own: without an address it would join whichever was started on this machine last.
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    counter = ray.remote(num_cpus=0)(Counter).remote()
    ray.get(counter.answer.remote())
    file, home = write_sweep(folder), Home(folder / "home")
    status = sweep(file, home=home)
    try:
        sweep(file, overrides=["name=other"], address="10.0.0.1:6379", home=home)
        refused = "not refused"
    except ClusterUnavailable as error:
        refused = str(error).partition(";")[0]
    print(status.state, len(status.trials))
    print(refused)
    print("Ray Train's settings:", "RAY_CHDIR_TO_TRIAL_DIR" in os.environ)
    print("actors:", *living_actors(), ray.get(counter.answer.remote()))
    ray.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
