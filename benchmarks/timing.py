"""One way of running trials, from outside: the whole command's time, and that between its trials' stamps."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.sweeps import ROOT, run_sweep, temporary_home
from benchmarks.work import STAMPS

FILE = """
name: ways
data: {{source: none}}
objective: {{metric: score, direction: maximize}}
budget: {{trials: {trials}, epochs: 5}}
search: {{sampler: random, pruner: none}}
resources: {{lanes: {lanes}}}
families:
  benchmarks.work:train:
    space: {{x: {{type: float, low: 0, high: 1}}, steps: {steps}}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds.

    Attributes:
        cold: the whole command, from nothing to its end.
        to_first: from the command to the first trial's training.
        steady: from the first trial's beginning to the last one's end.
        trials: how many trained.
    """

    cold: float
    to_first: float
    steady: float
    trials: int


def time_rival(way: str, trials: int, steps: int, lanes: int, limit_s: float) -> Timing:
    """One of `benchmarks.rivals`, in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", STAMPS: folder}
        words = ["--trials", str(trials), "--steps", str(steps), "--lanes", str(lanes)]
        began = time.time()
        subprocess.run(
            [sys.executable, "-m", "benchmarks.rivals", way, *words], cwd=ROOT, env=env, check=True,
            timeout=limit_s, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        return _timing(Path(folder), began, time.time())


def time_lanes(trials: int, steps: int, lanes: int, limit_s: float) -> Timing:
    """`velodrome sweep`, tracking on."""
    with temporary_home() as folder:
        stamps = folder / "stamps"
        text = FILE.format(trials=trials, steps=steps, lanes=lanes)
        swept = run_sweep(folder, text, limit_s=limit_s, stamps=stamps)
        return _timing(stamps, swept.began, swept.began + swept.seconds)


def _timing(stamps: Path, began: float, ended: float) -> Timing:
    lines = [line.split() for file in stamps.iterdir() for line in file.read_text().splitlines()]
    begins = [float(at) for what, at in lines if what == "begin"]
    ends = [float(at) for what, at in lines if what == "end"]
    return Timing(
        cold=ended - began, to_first=min(begins) - began, steady=max(ends) - min(begins), trials=len(ends)
    )
