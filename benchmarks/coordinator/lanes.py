"""Real lanes, that train and that do nothing."""

from __future__ import annotations

import statistics

from benchmarks.figures import Measurements
from benchmarks.sweeps import run_sweep, temporary_home
from benchmarks.work import calibrate

FILE = """
name: lanes
data: {{source: none}}
objective: {{metric: score, direction: maximize}}
budget: {{trials: {trials}, epochs: {epochs}}}
search: {{sampler: random, pruner: {pruner}}}
resources: {{lanes: {lanes}}}
families:
  benchmarks.work:{function}:
    space: {{x: {{type: float, low: 0, high: 1}}, steps: {steps}}}
"""


def measure_lanes(figures: Measurements, trials: int, limit_s: float) -> None:
    """Reports of two lanes that train, and trials of one that does nothing."""
    with temporary_home() as folder:
        stamps = folder / "stamps"
        written = FILE.format(
            trials=trials, epochs=20, pruner="{name: asha, min_epochs: 1, reduction: 2}", lanes=2,
            function="train_timed", steps=calibrate(1.0),
        )  # fmt: skip
        run_sweep(folder, written, limit_s=limit_s, stamps=stamps)
        told = [line.split() for file in stamps.iterdir() for line in file.read_text().splitlines()]
        for kind, bar in (("report", 0.5), ("decide", 5.0)):
            took = [float(words[1]) * 1e3 for words in told if words[0] == kind]
            note = f"of {len(took)}; p99 {sorted(took)[int(0.99 * len(took))]:.1f} ms"
            figures.add(
                f"two lanes that train: a {kind}, median", statistics.median(took), "ms", at_most=bar,
                note=note,
            )  # fmt: skip
    with temporary_home() as folder:
        written = FILE.format(trials=300, epochs=1, pruner="none", lanes=1, function="noop", steps=5)
        ended = run_sweep(folder, written, limit_s=limit_s).end_times()
        each = (ended[-1] - ended[100]) / (len(ended) - 101) * 1e3
        figures.add("one lane: a trial that does nothing", each, "ms", at_most=20, note="5 wanted")
