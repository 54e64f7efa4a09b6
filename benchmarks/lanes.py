"""How much of a core's time lanes leave to training, beside the same work in bare processes, in one run.

    python benchmarks/lanes.py [--seconds 1.0] [--trials 60] [--lanes 2]

First the work is done by one bare process a core, then by a sweep (sampler random, no pruner, tracking on);
both take the same steps. Printed are the wall time of the bare processes, that of the lanes from the first
attempt's start to the last one's end (steady state), their ratio (efficiency), and the whole command's time.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.work import burn
from infra.home import Home
from infra.ledger import views
from infra.ledger.store import Ledger

ROOT = Path(__file__).resolve().parents[1]
SWEEP = """
name: bench
data: {{source: none}}
objective: {{metric: score, direction: maximize}}
budget: {{trials: {trials}, epochs: 5}}
search: {{sampler: random, pruner: none}}
resources: {{lanes: {lanes}}}
families:
  benchmarks.work:train:
    space: {{x: {{type: float, low: 0, high: 1}}, steps: {steps}}}
"""


def calibrate(seconds: float) -> int:
    """How many steps take so long here, now."""
    burn(2_000)
    steps = 4_000
    began = time.perf_counter()
    burn(steps)
    return max(5, int(steps * seconds / (time.perf_counter() - began)))


def bare(trials: int, steps: int, processes: int) -> float:
    """Wall seconds of the same work in one process a core, start-up not counted."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.map(burn, [100] * processes * 4)  # torch is loaded now
        began = time.perf_counter()
        pool.map(burn, [steps] * trials, chunksize=1)
        return time.perf_counter() - began


def swept(trials: int, steps: int, lanes: int) -> tuple[float, float]:
    """Wall seconds of the lanes in steady state, and of the whole command."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "bench.yaml"
        file.write_text(SWEEP.format(trials=trials, steps=steps, lanes=lanes))
        environ = {**os.environ, "VELODROME_HOME": folder, "PYTHONPATH": str(ROOT)}
        began = time.perf_counter()
        command = [sys.executable, "-m", "flows.cli", "sweep", str(file), "--json"]
        subprocess.run(command, cwd=ROOT, env=environ, check=True, stdout=subprocess.DEVNULL, timeout=1_800)
        whole = time.perf_counter() - began
        ledger = Ledger(Home(Path(folder)).ledger_url)
        row = views.find_sweep(ledger, "bench")
        assert row is not None
        attempts = views.attempts(ledger, row.id)
        ledger.close()
        return max(a.ended_at or 0.0 for a in attempts) - min(a.started_at for a in attempts), whole


def main() -> None:
    """Both sides, and their ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--lanes", type=int, default=2)
    options = parser.parse_args()
    steps = calibrate(options.seconds)
    before = bare(options.trials, steps, options.lanes)
    steady, whole = swept(options.trials, steps, options.lanes)
    after = bare(options.trials, steps, options.lanes)
    plain = (before + after) / 2
    print(
        f"{options.trials} trials of {options.seconds:g} s on {options.lanes} lanes: "
        f"bare {before:.2f} and {after:.2f} s, lanes {steady:.2f} s, "
        f"efficiency {plain / steady:.3f}; whole command {whole:.1f} s"
    )


if __name__ == "__main__":
    main()
