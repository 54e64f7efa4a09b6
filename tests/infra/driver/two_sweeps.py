"""Two sweeps at once on two nodes of two processors: says when each has its share of the lanes.

python -m tests.infra.driver.two_sweeps FOLDER [DRIVER]
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from flows.sweeps.stop import stop
from flows.sweeps.sweep import sweep
from flows.sweeps.views.status import status
from flows.sweeps.views.sweep_status import SweepStatus
from infra.errors import VelodromeError
from infra.home import Home
from tests.raylets import add_node, start_head

LIMIT_S = 180.0  # 60 s where the machine is idle
UP_S = 300.0
CODE = """
import time

def train(trial):
    for epoch in range(4):
        time.sleep(0.25)
        trial.report(score=1.0)
"""
FILE = """
name: {name}
data: {{source: none}}
objective: {{metric: score, direction: maximize}}
budget: {{trials: 4000, epochs: 4}}
search: {{pruner: none, sampler: random}}
families:
  short:train:
    space: {{rate: {{type: float, low: 0.0, high: 1.0}}}}
code: {{root: code}}
"""


def main(folder: Path) -> None:
    """Begins one sweep, then another; prints the lanes of both, and the second's when the first is killed."""
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "short.py").write_text(CODE)
    drivers = []
    with start_head(2) as made:
        try:
            add_node(made, 2)
            home = Home(folder / "home")
            for name, lanes in (("first", 4), ("second", 2)):
                (folder / f"{name}.yaml").write_text(FILE.format(name=name))
                command = [sys.executable, "-m", __spec__.name, str(folder), name, made.address]
                drivers.append(subprocess.Popen(command, stderr=(folder / f"{name}.txt").open("w")))
                limit_s = LIMIT_S if drivers[1:] else UP_S
                took_s = wait_for(home, {name: lanes} if name == "first" else {"first": 2, name: 2}, limit_s)
                print(name, {one: lanes_of(home, one) for one in ("first", name)}, f"after {took_s:.0f} s")
            drivers[0].kill()
            took_s = wait_for(home, {"second": 4}, LIMIT_S)
            print("second alone", lanes_of(home, "second"), f"after {took_s:.0f} s")
            stop("second", home=home)
            drivers[1].wait(120)
        finally:
            for driver in drivers:
                driver.kill()


def wait_for(home: Home, lanes: dict[str, int], limit_s: float) -> float:
    """Waits until each sweep has so many lanes up; how long that took."""
    began = time.monotonic()
    while time.monotonic() - began < limit_s and {name: lanes_of(home, name) for name in lanes} != lanes:
        time.sleep(0.5)
    return time.monotonic() - began


def lanes_of(home: Home, name: str) -> int:
    """How many lanes of the sweep are up."""
    if not home.path.exists():
        return 0
    try:
        found = status(name, home=home)
    except VelodromeError:  # it is not written down yet
        return 0
    assert isinstance(found, SweepStatus)
    return found.lanes.up if found.lanes else 0


def drive(folder: Path, name: str, address: str) -> None:
    """Runs one of the sweeps."""
    sweep(folder / f"{name}.yaml", home=Home(folder / "home"), address=address)


if __name__ == "__main__":
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    if len(sys.argv) > 2:
        drive(Path(sys.argv[1]), *sys.argv[2:])
    else:
        main(Path(sys.argv[1]))
