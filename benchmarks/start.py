"""From the command to the first training step, beside a bare `ray.init` with one empty Ray Train fit.

    python -m benchmarks.start [--rounds 3] [--lanes 2] [--json start.json]

Both sides in turns, each from a process that does not exist yet to a worker in its function; medians.
"""

from __future__ import annotations

import statistics

from benchmarks.figures import Measurements, parser, print_progress
from benchmarks.timing import time_lanes, time_rival

LIMIT_S = 240.0


def measure_start(rounds: int, lanes: int) -> tuple[list[float], list[float]]:
    """Seconds to the first step of each round: the bare side's and ours."""
    bare, ours = [], []
    for turn in range(rounds):
        bare.append(time_rival("start", 1, 5, lanes, LIMIT_S).to_first)
        ours.append(time_lanes(lanes, 5, lanes, LIMIT_S).to_first)
        print_progress(f"round {turn + 1}: bare {bare[-1]:.2f} s, velodrome {ours[-1]:.2f} s")
    return bare, ours


def main() -> None:
    """Both sides."""
    made = parser(__doc__ or "")
    made.add_argument("--rounds", type=int, default=3)
    made.add_argument("--lanes", type=int, default=2)
    options = made.parse_args()
    figures = Measurements("start", options.json)
    bare, ours = measure_start(options.rounds, options.lanes)
    figures.add("bare ray.init and an empty fit, to its function", statistics.median(bare), "s")
    figures.add("`velodrome sweep`, to the first training step", statistics.median(ours), "s")
    figures.add("the one beside the other", statistics.median(ours) / statistics.median(bare), at_most=1.2)
    figures.conclude()


if __name__ == "__main__":
    main()
