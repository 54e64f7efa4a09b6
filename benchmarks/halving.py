"""Epochs that successive halving saves: ASHA, and ASHA that goes on with paused trials.

    python -m benchmarks.halving [--trials 64] [--epochs 27] [--sweeps 10] [--json halving.json]

The product's coordinator and pruners on one lane, with curves that are made here instead of training: each
trial has a value that it comes to, a pace and noise, all of them functions of its parameters. Curves are
`alike` (one pace for all) or `crossing` (small learning rates are slow, and pass others late). A sweep of so
many trials in full says what their best is; then sweeps with the same configurations and more of them go on
until a trial has ended that is as good. Said are the epochs until then beside those in full (1, where none
was found in half of them), and how far below that best a quarter and a sixth of the epochs come (the regret,
in deviations of the full trials).
"""

from __future__ import annotations

import math
import random
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks.coordinator.scene import Scene, lane_handshake
from benchmarks.figures import Measurements, parser, print_progress
from infra.coordinator.messages import Assignment, AttemptResult, EpochReport
from infra.spec import Budget, FamilySpec, Objective, SweepSpec
from search_spaces.space import Space
from search_spaces.values import ParamValue

GOAL = "val/accuracy"
SPACE: dict[str, ParamValue] = {
    "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    "weight_decay": {"type": "float", "low": 0.0, "high": 1.0},
}
NOISE = 0.003  # of each epoch's value; trials differ by 0.1
MORE = 8  # times as many trials as in full: what is stopped early leaves epochs for others
PACES = {"alike": 0.0, "crossing": 0.15}
SHARES = {"a quarter": 1 / 4, "a sixth": 1 / 6}
PRUNERS: dict[str, dict[str, ParamValue]] = {
    "asha": {"name": "asha", "min_epochs": 1, "reduction": 3},
    "asha, resume": {"name": "asha", "min_epochs": 1, "reduction": 3, "resume": True},
}
BARS = {"asha": 1 / 4, "asha, resume": 1 / 6}


def curve_value(params: dict[str, ParamValue], epoch: int, epochs: int, slowness: float) -> float:
    """The value after an epoch: a rise towards what the trial comes to, at its own pace."""
    away = math.log10(float(params["learning_rate"])) + 2.3  # type: ignore[arg-type]
    decay = float(params["weight_decay"]) - 0.3  # type: ignore[arg-type]
    comes_to = 0.9 - 0.1 * math.hypot(away, 2.5 * decay)
    pace = epochs / 6 * 10 ** (-slowness * away)
    noise = random.Random(repr((sorted(params.items()), epoch))).gauss(0.0, NOISE)
    return comes_to * (1.0 - 0.8 * math.exp(-epoch / pace)) + noise


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """One sweep.

    Attributes:
        epochs: that were trained.
        ends: the epochs up to each end of a trial in full, and the trial's value.
    """

    epochs: int
    ends: tuple[tuple[int, float], ...]

    def best(self, within: float = math.inf) -> float:
        """The best that ended within so many epochs."""
        return max((value for epochs, value in self.ends if epochs <= within), default=-math.inf)

    def epochs_to(self, value: float) -> int | None:
        """Trained until a trial had ended that is as good as this; None where none did."""
        return next((epochs for epochs, own in self.ends if own >= value), None)


def make_spec(pruner: dict[str, ParamValue], trials: int, epochs: int, seed: int) -> SweepSpec:
    """A sweep whose configurations depend on its seed alone."""
    family = FamilySpec(
        name="curves", reference="curves", space=Space.from_mapping(SPACE).to_json(), trials=trials,
        budget=Budget(epochs=epochs), sampler={"name": "random"}, pruner=pruner,
    )  # fmt: skip
    goals = (Objective(metric=GOAL, direction="maximize"),)
    return SweepSpec(name="halving", objectives=goals, families=(family,), seed=seed)


def replay_sweep(
    folder: Path, spec: SweepSpec, slowness: float, is_enough: Callable[[Replay], bool] = lambda found: False
) -> Replay:
    """The sweep on one lane; a paused trial goes on from the epoch that it was paused at."""
    scene = Scene(folder, spec)
    core, lane, epochs = scene.coordinator(), lane_handshake(0), spec.families[0].budget.reports
    core.register_lane(lane)
    found, reached = Replay(epochs=0, ends=()), dict[int, int]()
    ended: AttemptResult | None = None
    while not is_enough(found) and (answer := core.next_attempts(lane, ended=ended)).attempts:
        (work,) = answer.attempts
        value = partial(curve_value, dict(work.params), epochs=epochs, slowness=slowness)
        begun = reached.get(work.number, 0)
        stopped = _find_stop(partial(core.decide, lane, work.attempt), work, value, begun)
        reached[work.number] = stopped or epochs
        found = replace(found, epochs=found.epochs + reached[work.number] - begun)
        ended = AttemptResult(attempt=work.attempt, outcome="stopped" if work.pauses else "pruned")
        if stopped is None:
            kept = max(range(1, epochs + 1), key=value)
            found = replace(found, ends=(*found.ends, (found.epochs, value(kept))))
            ended = AttemptResult(
                attempt=work.attempt, outcome="complete", objective=(value(kept),), epoch=kept
            )
        ended = replace(ended, epochs=reached[work.number])
    scene.ledger.close()
    return found


def _find_stop(
    go_on: Callable[[list[EpochReport]], bool], work: Assignment, value: Callable[[int], float], begun: int
) -> int | None:
    """The report at which the trial is told to stop or to wait; None: it is trained in full."""
    deciding = () if work.deciding == "every" else work.deciding
    for epoch in (epoch for epoch in deciding if epoch > begun):
        if not go_on([EpochReport(epoch=epoch, metrics={GOAL: value(epoch)}, at=float(epoch))]):
            return epoch
    return None


def measure_curves(
    figures: Measurements, folder: Path, kind: str, trials: int, epochs: int, sweeps: int
) -> None:
    """Sweeps over one kind of curves."""
    shares: dict[str, list[float | None]] = {name: [] for name in PRUNERS}
    regrets: dict[tuple[str, str], list[float]] = {}
    for seed in range(sweeps):
        full = replay_sweep(folder, make_spec({"name": "none"}, trials, epochs, seed), PACES[kind])
        wanted, deviation = full.best() - NOISE, statistics.stdev(value for _, value in full.ends)
        for name, pruner in PRUNERS.items():
            spec = make_spec(pruner, MORE * trials, epochs, seed)
            found = replay_sweep(folder, spec, PACES[kind], partial(_is_enough, wanted, full.epochs))
            spent = found.epochs_to(wanted)
            shares[name].append(None if spent is None else spent / full.epochs)
            for words, share in SHARES.items():
                regret = (full.best() - found.best(share * full.epochs)) / deviation
                regrets.setdefault((name, words), []).append(regret)
        print_progress(f"{kind}, sweep {seed + 1}: { ({name: own[-1] for name, own in shares.items()}) }")
    for name in PRUNERS:
        what, known = f"{kind} curves, {trials} trials of {epochs} epochs, {name}", shares[name]
        note = f"found in {sweeps - known.count(None)} of {sweeps}"
        middle = statistics.median(1.0 if share is None else share for share in known)
        figures.add(f"{what}: epochs to the best / in full", middle, at_most=BARS[name], note=note)
        for words in SHARES:
            own = regrets[name, words]
            figures.add(f"{what}: regret at {words} of the epochs", statistics.median(own), "deviations")


def _is_enough(wanted: float, epochs: int, found: Replay) -> bool:
    """As good a trial has ended, and a quarter of the epochs is spent; or half of them."""
    return found.epochs >= epochs / 2 or (found.epochs >= epochs / 4 and found.best() >= wanted)


def main() -> None:
    """Each kind of curves."""
    made = parser(__doc__ or "")
    made.add_argument("--trials", type=int, default=64)
    made.add_argument("--epochs", type=int, default=27)
    made.add_argument("--sweeps", type=int, default=10)
    options = made.parse_args()
    figures = Measurements("Successive halving, with and without resume", options.json)
    with tempfile.TemporaryDirectory() as folder:
        for kind in PACES:
            measure_curves(figures, Path(folder), kind, options.trials, options.epochs, options.sweeps)
    figures.conclude()


if __name__ == "__main__":
    main()
