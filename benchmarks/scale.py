"""Where designs bend: ten thousand trials in one sweep, through Ray, on two lanes.

    python -m benchmarks.scale [--parts random asha tpe] [--trials 10000] [--json scale.json]

`random`: trials that do nothing, without pruner, tracking on: the cost of a trial at the end beside that at
the beginning, the memory of driver and coordinator, how long MLflow takes for the rest, how long the ledger
takes to replay, and how long `status` and `compare` take. `asha`: the same with a pruner. `tpe`: two lanes of
half-second trials after a thousand finished ones, beside `random`: what the sampler makes lanes wait.

Trials are counted from the ledger; memory is resident memory of the processes, looked at each second.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.figures import Measurements, parser, print_progress
from benchmarks.sweeps import ROOT, SweepRun, run_sweep, temporary_home
from benchmarks.work import calibrate, gaps
from infra.coordinator.core import Coordinator
from infra.home import Home
from infra.ledger import views
from infra.ledger.liveness import describe_this_process
from infra.ledger.store import Ledger
from infra.tracking.sender import Sender

SWEEP = """
name: scale
data: {{source: none}}
objective: {{metric: score, direction: maximize}}
budget: {{trials: {trials}, epochs: {epochs}}}
search: {{sampler: {sampler}, pruner: {pruner}}}
resources: {{lanes: 2}}
families:
  benchmarks.work:{function}:
    space:
      x: {{type: float, low: 0, high: 1}}
      learning_rate: {{type: float, low: 1e-4, high: 1e-1, log: true}}
      batch_size: {{type: int, low: 16, high: 256, log: true}}
      optimizer: {{type: categorical, choices: [sgd, adam, rmsprop]}}
      momentum: {{type: float, low: 0.0, high: 0.99, when: {{optimizer: [sgd, rmsprop]}}}}
      steps: {steps}
      fast: {fast}
"""


def sweep_text(**changes: object) -> str:
    """A sweep file."""
    usual = {"sampler": "random", "pruner": "none", "function": "noop", "steps": 5, "fast": 0, "epochs": 5}
    return SWEEP.format(**{**usual, **changes})


def trial_cost_ms(swept: SweepRun, first: int, last: int) -> float:
    """Milliseconds a trial of two lanes together, between two counts of ended ones."""
    ended = swept.end_times()
    return (ended[last - 1] - ended[first]) / (last - 1 - first) * 1e3


def measure_random(figures: Measurements, folder: Path, trials: int, limit_s: float) -> None:
    """Flatness, memory, replay, reading and the drain."""
    swept = run_sweep(folder, sweep_text(trials=trials), limit_s=limit_s, look_every_s=1.0)
    figures.add("whole command", swept.seconds, "s")
    measure_flatness(figures, swept, trials)
    early, late = min(100, trials // 10), trials
    memory = {
        count: swept.memory("driver", count) + swept.memory("coordinator", count) for count in (early, late)
    }
    peak = max(look.memory.get("driver", 0) + look.memory.get("coordinator", 0) for look in swept.seen)
    figures.add(f"driver and coordinator at {early} trials", memory[early], "MiB")
    figures.add(f"driver and coordinator at {late} trials", memory[late], "MiB", at_most=900)
    figures.add("growth of the two", memory[late] - memory[early], "MiB", at_most=60)
    figures.add("the two at their largest, the drain included", peak, "MiB", at_most=900)
    measure_replay(figures, folder)
    measure_reading(figures, folder)
    measure_drain(figures, folder)


def measure_flatness(figures: Measurements, swept: SweepRun, trials: int) -> None:
    """The cost of a trial at the end beside that at the beginning."""
    window = max(50, trials // 10)
    start = min(100, trials // 10)
    early, late = trial_cost_ms(swept, start, start + window), trial_cost_ms(swept, trials - window, trials)
    figures.add(f"a trial at {start}", early, "ms", note="two lanes together")
    figures.add(f"a trial at {trials}", late, "ms")
    figures.add("the one beside the other", late / early, at_most=1.2)


def measure_replay(figures: Measurements, folder: Path) -> None:
    """A coordinator that takes the ledger over."""
    ledger = Ledger(Home(folder).ledger_url)
    row = views.find_sweep(ledger, "scale")
    assert row is not None
    epoch, _ = ledger.claim(row.id, describe_this_process(), lambda owner: True)
    wall, cpu = time.perf_counter(), time.process_time()
    Coordinator(ledger, row.id, epoch=epoch)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    ledger.release(row.id, describe_this_process().token)
    ledger.close()
    figures.add("replaying the ledger", wall, "s", at_most=5, note=f"{cpu:.1f} s of processor time")


def measure_reading(figures: Measurements, folder: Path) -> None:
    """The commands that read it, each as a process."""
    for verb in ("status", "compare"):
        for words in ((verb, "scale"), (verb, "scale", "--json")):
            seconds = []
            for _ in range(3):
                began = time.perf_counter()
                subprocess.run(
                    [sys.executable, "-m", "flows.cli", *words], cwd=ROOT, check=True, timeout=120,
                    env={**_environ(), "VELODROME_HOME": str(folder)}, stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )  # fmt: skip
                seconds.append(time.perf_counter() - began)
            figures.add(
                f"`velodrome {' '.join(words)}`", statistics.median(seconds), "s", at_most=2, note="of 3"
            )


def _environ() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT)}


def measure_drain(figures: Measurements, folder: Path) -> None:
    """What MLflow still takes after the command has ended."""
    place = Home(folder)
    ledger = Ledger(place.ledger_url)
    row = views.find_sweep(ledger, "scale")
    assert row is not None
    sender = Sender(place.ledger_url, row.id, uri=place.mlflow_uri, home=place, storage=place.storage)
    before, had = sender.count_unsent(), len(sender.run_ids())
    began = time.perf_counter()
    try:
        sender.send_once()
    finally:
        seconds = time.perf_counter() - began
        runs = len(sender.run_ids()) - had
        sender.stop()
        ledger.close()
    figures.add("events unsent when the command ended", before)
    figures.add("sending them", seconds, "s", note=f"{runs} runs, {1e3 * seconds / max(1, runs):.1f} ms each")


def measure_asha(figures: Measurements, folder: Path, trials: int, limit_s: float) -> None:
    """The same with a pruner that decides at two of five epochs."""
    swept = run_sweep(
        folder,
        sweep_text(trials=trials, pruner="{name: asha, min_epochs: 1, reduction: 2}"),
        limit_s=limit_s,
        look_every_s=1.0,
    )
    figures.add("whole command, asha", swept.seconds, "s")
    measure_flatness(figures, swept, trials)


def measure_tpe(figures: Measurements, folder: Path, finished: int, limit_s: float) -> None:
    """What lanes wait between two trials, by sampler, once so many have finished."""
    steps, more = calibrate(0.5), 100
    waits = {}
    for sampler in ("random", "tpe"):
        place, stamps = folder / sampler, folder / f"stamps-{sampler}"
        place.mkdir()
        trials = finished + more
        written = sweep_text(
            trials=trials, sampler=sampler, function="train_late", steps=steps, fast=finished
        )
        run_sweep(place, written, limit_s=limit_s, look_every_s=5.0, stamps=stamps)
        late = sorted(gaps(stamps, skip=0))
        waits[sampler] = statistics.mean(late_gaps(stamps, more))
        figures.add(f"between two trials, {sampler}", 1e3 * waits[sampler], "ms", note=f"of {len(late)}")
    share = 100 * (waits["tpe"] - waits["random"]) / 0.5
    figures.add(f"waiting for tpe at {finished} trials", share, "% of the time", at_most=1)


def late_gaps(stamps: Path, more: int) -> list[float]:
    """The gaps of the last trials, those that train."""
    found = []
    for file in stamps.iterdir():
        times = [float(line.split()[1]) for line in file.read_text().splitlines()]
        pairs = list(zip(times[::2], times[1::2], strict=False))
        slow = [i for i, (begin, end) in enumerate(pairs) if end - begin > 0.2]
        found += [pairs[i][0] - pairs[i - 1][1] for i in slow if i - 1 in slow]
    assert len(found) >= more // 2
    return found


def main() -> None:
    """The parts asked for, one after another."""
    made = parser(__doc__ or "")
    made.add_argument("--parts", nargs="+", default=["random", "asha", "tpe"])
    made.add_argument("--trials", type=int, default=10_000)
    made.add_argument("--finished", type=int, default=1_000, help="trials before those that tpe is asked for")
    made.add_argument("--limit", type=float, default=1_800, help="seconds that one sweep may take")
    options = made.parse_args()
    figures = Measurements("scale", options.json)
    for part in options.parts:
        print_progress(part)
        with temporary_home() as folder:
            if part == "random":
                measure_random(figures, folder, options.trials, options.limit)
            elif part == "asha":
                measure_asha(figures, folder, options.trials, options.limit)
            else:
                measure_tpe(figures, folder, options.finished, options.limit)
    figures.conclude()


if __name__ == "__main__":
    main()
