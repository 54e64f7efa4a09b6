"""Sweeps of a command, a function and a Trainer on two nodes: says where trials ran, and by which files.

python -m tests.infra.driver.travelling_code FOLDER
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from flows.sweeps.sweep import sweep
from infra.home import Home
from tests.faults.harness import ROOT

# Each says which of its files it is, what a neighbour of them holds, and where it runs.
SAYS = """
import json, os, time
from pathlib import Path

def say(file, kind, seen):
    node = os.environ["RAY_RAYLET_PID"]  # one a node
    beside = Path(file).with_name("settings.txt").read_text()
    told = {"kind": kind, "file": str(Path(file).resolve()), "beside": beside, "node": node}
    (Path(seen) / f"{node}-{kind}-{time.monotonic_ns()}.json").write_text(json.dumps(told))
    until = time.monotonic() + 60.0  # the first trial of one node waits for the other node's
    while len({path.name.split("-")[0] for path in Path(seen).iterdir()}) < 2 and time.monotonic() < until:
        time.sleep(0.1)
"""
SCRIPT = """
import os, sys
from parts.says import say
say(__file__, "command", sys.argv[sys.argv.index("--seen") + 1])
assert os.path.exists("settings.txt"), "it is called in the folder that travelled"
print("loss=0.5")
"""
FUNCTION = """
import time
from parts.says import say

def train(trial):
    say(__file__, "function", trial.params["seen"])
    time.sleep(1.0)
    trial.report(loss=0.5)
"""
TRAINER = """
import reader_script
from parts.says import say

def train(trial):
    say(reader_script.__file__, "trainer", trial.params.pop("seen"))
    reader_script.objective(trial)
"""
FILE = """
name: {kind}
data: {{source: none}}
objective: {{metric: loss, direction: minimize}}
budget: {{trials: 4, epochs: 2}}
search: {{sampler: random, pruner: none}}
resources: {{lanes: 2, gpus: 0}}
families:
  {family}
code: {{root: code}}
"""
RATE = "learning_rate: {{type: float, low: 1.0e-4, high: 1.0e-2}}, seen: {seen}"
FAMILIES = {
    "command": "script: {{command: 'python tools/script.py ${{args}}', metrics: {{loss: 'loss=([0-9.]+)'}}, "
    f"space: {{{{{RATE}}}}}}}}}",
    "function": f"own:train: {{{{space: {{{{{RATE}}}}}}}}}",
    "trainer": f"reader:train: {{{{space: {{{{{RATE}}}}}}}}}",
}


def write_code(code: Path) -> None:
    """The folder of somebody's code, away from the storage."""
    shutil.rmtree(code, ignore_errors=True)
    (code / "parts").mkdir(parents=True)
    (code / "tools").mkdir()
    (code / "parts/__init__.py").touch()
    (code / "parts/says.py").write_text(SAYS)
    path = 'import sys; sys.path.insert(0, ".")\n'  # as scripts below a folder reach what lies beside it
    (code / "tools/script.py").write_text(path + SCRIPT)
    (code / "own.py").write_text(FUNCTION)
    (code / "reader.py").write_text(TRAINER)
    shutil.copy(ROOT / "tests/velodrome/ports/trainer_trial.py", code / "reader_script.py")
    for folder in (code, code / "tools"):
        (folder / "settings.txt").write_text("beside")


def edit_code(code: Path) -> None:
    """What a person does while a sweep runs, or another machine's older checkout is: once the code has
    travelled, the driver's folder holds other code."""
    while not ray.is_initialized():
        time.sleep(0.05)
    time.sleep(1.0)
    for path in code.rglob("*.py"):
        path.write_text("raise SystemExit('edited')\n")


def main(folder: Path) -> None:
    """Prints, of each kind, on how many nodes it ran, and whether by files of the driver's own folder."""
    code, seen = folder / "code", folder / "seen"
    seen.mkdir()
    temp = tempfile.mkdtemp(prefix="vt-")
    made = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "temp_dir": temp, "include_dashboard": False},
    )
    try:
        made.add_node(num_cpus=1)
        for kind, family in FAMILIES.items():
            (seen / kind).mkdir()
            write_code(code)
            path = folder / f"{kind}.yaml"
            path.write_text(FILE.format(kind=kind, family=family.format(seen=seen / kind)))
            threading.Thread(target=edit_code, args=(code,), daemon=True).start()
            status = sweep(path, home=Home(folder / "home"), address=made.address)
            states = {trial.state for trial in status.trials}
            told = [json.loads(path.read_text()) for path in (seen / kind).iterdir()]
            nodes = {entry["node"] for entry in told}
            at_home = any(Path(entry["file"]).is_relative_to(code.resolve()) for entry in told)
            beside = {entry["beside"] for entry in told}
            print("kind", kind, *states, len(told), "nodes", len(nodes), "at home", at_home, *beside)
    finally:
        if ray.is_initialized():
            ray.shutdown()
        made.shutdown()
        shutil.rmtree(temp, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
