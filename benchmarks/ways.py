"""The same trials by the ways that people run them today, and by lanes: cold and in steady state.

    python -m benchmarks.ways [--seconds 1] [--trials 64] [--sides bare optuna tune trainer lanes]

Sides: the bare loop in one process a core, plain Optuna in one process a core, Tune with OptunaSearch on
functions with `reuse_actors`, Ray's documented Tune with one `TorchTrainer.fit()` a trial (8 of its trials
measured, the rest extrapolated from their pace), and lanes with tracking on. Every side takes the same steps
on one thread; the bare loop runs first, and right before and after lanes, since a machine's pace changes.

"Steady" is from the first trial's beginning to the last one's end, "cold" the whole command. Bars: efficiency
(bare / lanes, steady) 0.97, 0.92, 0.65 for trials of 10, 1, 0.1 s; for 64 trials of 1 s also cold.
"""

from __future__ import annotations

import statistics

from benchmarks.figures import Measurements, parser, print_progress
from benchmarks.start import measure_start as measure_start
from benchmarks.timing import Timing, time_lanes, time_rival
from benchmarks.work import calibrate

EFFICIENCY = {10.0: 0.97, 1.0: 0.92, 0.1: 0.65}
TRAINER_TRIALS = 8
TIMES_LESS = 12


def time_side(side: str, trials: int, steps: int, lanes: int, limit_s: float) -> Timing:
    """One side; of Ray's documented way the measured trials only."""
    print_progress(f"{side}: {trials} trials")
    if side == "lanes":
        return time_lanes(trials, steps, lanes, limit_s)
    return time_rival(side, trials, steps, lanes, limit_s)


def extrapolate(measured: Timing, trials: int) -> Timing:
    """What that many trials would take at the pace of those that were measured."""
    more = (trials - measured.trials) * measured.steady / measured.trials
    return Timing(
        cold=measured.cold + more, to_first=measured.to_first, steady=measured.steady + more, trials=trials
    )


def order_sides(sides: list[str]) -> list[str]:
    """The sides in their order, the bare loop also right before and after lanes: minutes later a shared
    machine has another pace."""
    order: list[str] = []
    for side in sides:
        order += ["bare", side] if side == "lanes" and order[-1:] != ["bare"] else [side]
    return [*order, "bare"]


def measure_sides(figures: Measurements, sides: list[str], options: object, steps: int) -> dict[str, Timing]:
    """Every side's times."""
    trials, lanes, limit_s = options.trials, options.lanes, options.limit  # type: ignore[attr-defined]
    found: dict[str, Timing] = {}
    bares: list[float] = []
    for side in order_sides(sides):
        if side == "trainer":
            measured = time_side(side, min(trials, TRAINER_TRIALS), steps, lanes, limit_s)
            took, note = extrapolate(measured, trials), f"{measured.trials} measured, the rest extrapolated"
        else:
            took = time_side(side, trials, steps, lanes, limit_s)
            note = "" if took.trials == trials else f"{took.trials} trained"
        if side == "bare":
            bares.append(took.steady)
        found[side] = took
        figures.add(f"{side}: steady", took.steady, "s", note=note)
        figures.add(f"{side}: cold", took.cold, "s", note=note)
    for side in sides:
        if side != "bare":
            plain = statistics.mean(bares[-2:] if side == "lanes" else bares)
            bar = EFFICIENCY.get(options.seconds) if side == "lanes" else None  # type: ignore[attr-defined]
            figures.add(
                f"{side}: efficiency (bare / {side}, steady)", plain / found[side].steady, at_least=bar
            )
    return found


def compare_cold(figures: Measurements, found: dict[str, Timing], trials: int, lanes: int) -> None:
    """The bars of trials of a second from nothing."""
    ours = found["lanes"].cold
    starts, _ = measure_start(1, lanes)
    figures.add("bare start (ray.init and an empty fit)", starts[0], "s")
    allowed = 1.2 * starts[0] + trials / lanes / 0.92
    figures.add("lanes: cold", ours, "s", at_most=allowed, note="1.2 × that start + trials / lanes / 0.92")
    if "trainer" in found:
        figures.add("trainer / lanes, cold", found["trainer"].cold / ours, at_least=TIMES_LESS)
    if "tune" in found:
        figures.add("tune / lanes, cold", found["tune"].cold / ours, at_least=1.0)


def main() -> None:
    """All sides in one go."""
    made = parser(__doc__ or "")
    made.add_argument("--seconds", type=float, default=1.0, help="of real training in a trial")
    made.add_argument("--trials", type=int, default=64)
    made.add_argument("--lanes", type=int, default=2, help="processes of every side")
    made.add_argument("--limit", type=float, default=900, help="seconds that one side may take")
    sides = ["bare", "optuna", "tune", "trainer", "lanes"]
    made.add_argument("--sides", nargs="+", choices=sides, default=sides)
    options = made.parse_args()
    figures = Measurements(f"ways, {options.trials} trials of {options.seconds:g} s", options.json)
    steps = calibrate(options.seconds, options.lanes)
    print_progress(f"{steps} steps are {options.seconds:g} s here, now")
    found = measure_sides(figures, options.sides, options, steps)
    if options.seconds == 1.0 and "lanes" in found:
        compare_cold(figures, found, options.trials, options.lanes)
    figures.conclude()


if __name__ == "__main__":
    main()
