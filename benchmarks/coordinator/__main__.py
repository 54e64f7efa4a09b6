"""What the coordinator costs: its core without Ray, its actor under 64 lanes, and its lanes while they train.

    python -m benchmarks.coordinator [--parts core rate actor lanes] [--trials 2000] [--json coordinator.json]
    python -m benchmarks.coordinator --parts actor --simulated 1000 --pace 1000 --events 1000000

`core`: a trial that trains nothing (ask, start, reports, finish, in a ledger on disk), at the beginning and
at the end, with `random` and with ASHA. `rate`: reports committed a second, as heartbeats bring them.
`actor`: 64 simulated lanes that report 2,000 times a second, or as many as are asked for, beside a former
sweep of so many `--events` in the ledger. `lanes`: a report
and a deciding report in two real lanes that train, and a whole trial that does nothing in one real lane.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.coordinator.actor import ActorLoad, measure_actor
from benchmarks.coordinator.core import measure_core, measure_rate
from benchmarks.coordinator.lanes import measure_lanes
from benchmarks.coordinator.scene import A_SECOND, LANES
from benchmarks.figures import Measurements, parser, print_progress


def main() -> None:
    """The parts asked for."""
    made = parser(__doc__ or "")
    made.add_argument("--parts", nargs="+", default=["core", "rate", "actor", "lanes"])
    made.add_argument("--trials", type=int, default=2_000)
    made.add_argument("--seconds", type=float, default=10.0, help="how long rates are measured")
    made.add_argument("--simulated", type=int, default=LANES, help="lanes of the part `actor`")
    made.add_argument("--pace", type=float, default=A_SECOND, help="reports a second of all of them")
    made.add_argument("--events", type=int, default=0, help="of a former sweep, for the part `actor`")
    made.add_argument("--limit", type=float, default=600, help="seconds that one sweep may take")
    options = made.parse_args()
    figures = Measurements("coordinator", options.json)
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        for part in options.parts:
            print_progress(part)
            if part == "core":
                measure_core(figures, Path(folder), options.trials)
            elif part == "rate":
                measure_rate(figures, Path(folder), options.seconds)
            elif part == "actor":
                load = ActorLoad(options.simulated, options.pace)
                measure_actor(figures, Path(folder), options.seconds, load, options.events)
            else:
                measure_lanes(figures, 40, options.limit)
    figures.conclude()


if __name__ == "__main__":
    main()
