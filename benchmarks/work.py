"""Work that learns nothing: what a trial costs beside it is then what lanes add.

Training functions for sweep files (`benchmarks.work:train`, `:noop`, `:train_late`), and the same work bare.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainers.functions.trial import Trial

EPOCHS = 5
STAMPS = "BENCHMARK_STAMPS"


def burn(steps: int) -> float:
    """So many small matrix products on one thread."""
    import torch

    torch.set_num_threads(1)
    a = torch.full((96, 96), 0.01)
    for _ in range(steps):
        a = (a @ a).clamp(0.0, 0.01)
    return float(a.sum())


def import_libraries() -> None:
    """Imports what training needs, before a trial's time begins: no side pays for it in its steady state."""
    import torch

    torch.set_num_threads(1)


def calibrate(seconds: float, processes: int = 2) -> int:
    """How many steps take so long here, now, in each of so many processes at once: cores that share caches
    and a clock are slower together than alone, and lanes train together."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        pool.map(_pace, range(processes), chunksize=1)  # torch is loaded now
        paces = pool.map(_pace, range(4 * processes), chunksize=1)
    return max(EPOCHS, int(seconds / statistics.median(paces)))


def _pace(_: int) -> float:
    """Seconds a step."""
    began = time.perf_counter()
    burn(10_000)
    return (time.perf_counter() - began) / 10_000


def train(trial: Trial) -> None:
    """Five epochs of equal length."""
    stamp("begin")
    for _ in trial.epochs():
        burn(trial.params["steps"] // EPOCHS)
        trial.alive()
        trial.report(score=trial.params["x"])
    stamp("end")


def noop(trial: Trial) -> None:
    """Reports without training."""
    stamp("begin")
    for epoch in trial.epochs():
        trial.report(score=trial.params["x"] * (1 - 0.5 ** (epoch + 1)))
    stamp("end")


def train_late(trial: Trial) -> None:
    """Nothing in the first `fast` trials, work after that: a search that has many finished trials soon."""
    number = int(Path(trial.directory).parent.name.rpartition("-")[2])
    (train if number >= trial.params["fast"] else noop)(trial)


def stamp(what: str) -> None:
    """Notes the time in a file of this process's own, in the folder that the environment names."""
    write_line(f"{what} {time.time()!r}")


def write_line(text: str) -> None:
    """Writes a line into that file."""
    folder = os.environ.get(STAMPS)
    if folder:
        with Path(folder, str(os.getpid())).open("a") as out:
            out.write(f"{text}\n")


def gaps(folder: Path, *, skip: int = 0) -> list[float]:
    """Seconds between the end of a trial's function and the next one's beginning, over all processes.

    Args:
        skip: how many trials of each process do not count.
    """
    found = []
    for file in folder.iterdir():
        lines = [line.split() for line in file.read_text().splitlines()]
        times = [(what, float(at)) for what, at in lines]
        pairs = [b[1] - a[1] for a, b in zip(times[1::2], times[2::2], strict=False)]
        found += pairs[skip:]
    return found


def train_timed(trial: Trial) -> None:
    """As `train`, and notes what each report took its lane."""
    hooks: Any = trial._hooks
    report, deciding = hooks.report, hooks.assignment.deciding

    def timed_report(epoch: int, metrics: Mapping[str, float]) -> bool:
        began = time.perf_counter()
        go_on: bool = report(epoch, metrics)
        took = time.perf_counter() - began
        write_line(f"{'decide' if epoch in deciding else 'report'} {took!r}")
        return go_on

    hooks.report = timed_report
    epochs = 20
    for _ in trial.epochs():
        burn(trial.params["steps"] // epochs)
        trial.alive()
        trial.report(score=trial.params["x"])
