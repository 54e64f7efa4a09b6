"""Faults of the coordinator's work, at each statement of it, in forked processes without Ray."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.faults import tally
from tests.faults.harness import ROOT, Stage, check_tracking
from tests.faults.outcome import Outcome, Pace, case
from tests.faults.stepped import run_step

TWICE = f"""
name: twice
data: {{source: none}}
objective: {{metric: accuracy, direction: maximize}}
budget: {{trials: 4, epochs: 3}}
search: {{sampler: random, pruner: none}}
resources: {{lanes: 1}}
families:
  tests.faults.scripted:train:
    space: {{learning_rate: {{type: float, low: 1.0e-5, high: 1.0e-1, log: true}}}}
code: {{root: {ROOT}}}
"""


def _stride(pace: Pace) -> str:
    """At each statement, or at every sixth on each change."""
    return "6" if pace.fast else "1"


@case("F16", "the one that takes over is killed at each of its statements", fast=True, slow=True)
def kill_while_taking_over(folder: Path, pace: Pace) -> Outcome:
    """After a driver's death, and after all lanes': each of four trials is tried again exactly once."""
    told = run_step("reap", folder, _stride(pace))
    wrong = [line for how in told.values() for line in how["wrong"]]
    counts = {how: found["statements"] for how, found in told.items()}
    assert all(count * int(_stride(pace)) > 10 for count in counts.values()), counts
    assert not wrong, wrong
    return Outcome(note=f"{sum(counts.values())} kills: {counts}; 4 trials, 1 more attempt each")


@case("F42", "the pruner or a stop decides while the worker dies", fast=True, slow=True)
def kill_while_deciding(folder: Path, pace: Pace) -> Outcome:
    """And the coordinator at each statement of saying so: one terminal state."""
    told = run_step("decide", folder, _stride(pace))
    wrong = [line for how in told.values() for line in how["wrong"]]
    counts = {how: found["statements"] for how, found in told.items()}
    assert all(count * int(_stride(pace)) > 10 for count in counts.values()), counts
    assert not wrong, wrong
    return Outcome(note=f"{sum(counts.values())} kills: {counts}; every trial ended once")


@case("F25", "two drivers on one study within 100 ms, 20 times", fast=True, slow=True)
def two_drivers(folder: Path, pace: Pace) -> Outcome:
    """One runs it and the other is refused; in full, the commands themselves too."""
    rounds = 4 if pace.fast else 20
    told = run_step("race", folder, str(rounds))
    ends = Counter(told["ends"])
    assert not told["wrong"], told["wrong"]
    assert ends["0+4"] >= rounds / 2, f"hardly any two met: {dict(ends)}"
    note = f"{ends['0+4']} of {rounds} refused the second, numbers unique, totals exact"
    if pace.fast:
        return Outcome(note=note)
    counts = [_two_commands(folder / f"commands-{place}") for place in range(3)]
    return Outcome(
        lost=sum(c["lost"] for c in counts),
        duplicated=sum(c["duplicated"] for c in counts),
        orphaned=sum(c["orphaned"] for c in counts),
        note=f"{note}; 3 times by the command",
    )


def _two_commands(folder: Path) -> dict[str, int]:
    stage = Stage(folder, {"SCRIPTED_SLEEP": "0.1"})
    stage.write("twice.yaml", TWICE)
    drivers = [stage.start("sweep", "twice.yaml") for _ in range(2)]
    said = [driver.communicate(timeout=600)[1] for driver in drivers]
    assert sorted(driver.returncode for driver in drivers) == [0, 4], said
    (refused,) = [place for place, driver in enumerate(drivers) if driver.returncode == 4]
    assert f"pid {drivers[1 - refused].pid}" in said[refused], said[refused]
    check_tracking(stage, "twice")
    return tally.tally_sweep(stage, "twice", 4)
