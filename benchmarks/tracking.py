"""Tracking's share of a sweep's wall time, the drain at the end counted: the same sweep with and without.

    python -m benchmarks.tracking [--seconds 1 10] [--trials 64 12] [--rounds 2] [--json tracking.json]

Both sides take turns, and the shortest of each counts: a machine that others use only makes things longer.
Wall time is from the first trial's beginning to the command's end. Lanes must not wait for tracking: what
passes between two trials of a lane is compared too.
"""

from __future__ import annotations

import statistics

from benchmarks.figures import Measurements, parser, print_progress
from benchmarks.sweeps import run_sweep, temporary_home
from benchmarks.timing import FILE
from benchmarks.work import calibrate, gaps

BARS = {10.0: 1.0, 1.0: 4.0}
SIDES = {"on": "flows.cli", "off": "benchmarks.untracked"}


def time_once(side: str, trials: int, steps: int, limit_s: float) -> tuple[float, float]:
    """Seconds from the first attempt's start to the command's end, and the median between two trials."""
    with temporary_home() as folder:
        stamps, text = folder / "stamps", FILE.format(trials=trials, steps=steps, lanes=2)
        swept = run_sweep(folder, text, limit_s=limit_s, stamps=stamps, program=SIDES[side])
        return swept.seconds - swept.to_first_attempt, statistics.median(gaps(stamps))


def measure_length(figures: Measurements, seconds: float, trials: int, rounds: int, limit_s: float) -> None:
    """Trials of one length."""
    steps = calibrate(seconds)
    walls: dict[str, list[float]] = {side: [] for side in SIDES}
    between: dict[str, list[float]] = {side: [] for side in SIDES}
    for turn in range(rounds):
        for side in SIDES:
            wall, gap = time_once(side, trials, steps, limit_s)
            walls[side].append(wall)
            between[side].append(gap)
            print_progress(
                f"round {turn + 1}, tracking {side}: {wall:.2f} s, {1e3 * gap:.1f} ms between two trials"
            )
    on, off = min(walls["on"]), min(walls["off"])
    name = f"{trials} trials of {seconds:g} s"
    figures.add(f"{name}, tracking off", off, "s")
    figures.add(f"{name}, tracking on", on, "s")
    figures.add(f"{name}: tracking's share", 100 * (on - off) / on, "%", at_most=BARS.get(seconds))
    for side in SIDES:
        figures.add(f"{name}: between two of a lane, tracking {side}", 1e3 * min(between[side]), "ms")


def main() -> None:
    """Each length of trial."""
    made = parser(__doc__ or "")
    made.add_argument("--seconds", nargs="+", type=float, default=[1.0, 10.0])
    made.add_argument("--trials", nargs="+", type=int, default=[64, 12])
    made.add_argument("--rounds", type=int, default=2)
    made.add_argument("--limit", type=float, default=600, help="seconds that one sweep may take")
    options = made.parse_args()
    figures = Measurements("tracking", options.json)
    for seconds, trials in zip(options.seconds, options.trials, strict=True):
        measure_length(figures, seconds, trials, options.rounds, options.limit)
    figures.conclude()


if __name__ == "__main__":
    main()
