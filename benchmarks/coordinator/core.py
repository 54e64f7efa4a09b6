"""The core without Ray, with a ledger on disk."""

from __future__ import annotations

import math
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.coordinator.scene import GOAL, LANES, Scene, epoch_report, lane_handshake, sweep_spec
from benchmarks.figures import Measurements
from infra.coordinator.core import Coordinator
from infra.coordinator.messages import Assignment, AttemptResult, EpochReport, LaneHandshake

REPORTS = 5


@dataclass
class DecisionTimes:
    """Processor seconds of deciding reports."""

    decisions: list[float] = field(default_factory=list)


def run_attempt(
    core: Coordinator, lane: LaneHandshake, work: Assignment, told: DecisionTimes
) -> tuple[AttemptResult, list[EpochReport]]:
    """Makes up a learning curve and tells it as a lane would."""
    quality = 1.0 / (1.0 + abs(math.log10(work.params["learning_rate"]) + 2.5))
    held: list[EpochReport] = []
    for epoch in range(1, REPORTS + 1):
        held.append(EpochReport(epoch=epoch, metrics={GOAL: quality * (1 - 0.5**epoch)}, at=time.time()))
        if epoch in (work.deciding if work.deciding != "every" else range(1, REPORTS)):
            began = time.process_time()
            go_on = core.decide(lane, work.attempt, held)
            told.decisions.append(time.process_time() - began)
            held = []
            if not go_on:
                return AttemptResult(attempt=work.attempt, outcome="pruned"), []
    value = (quality * (1 - 0.5**REPORTS),)
    return AttemptResult(attempt=work.attempt, outcome="complete", objective=value, epoch=REPORTS), held


def run_on_one_lane(core: Coordinator, told: DecisionTimes) -> list[float]:
    """The whole sweep on one lane; processor seconds since the beginning at each trial's end."""
    lane, marks = lane_handshake(0), [time.process_time()]
    core.register_lane(lane)
    ended, held = None, list[EpochReport]()
    while (answer := core.next_attempts(lane, ended=ended, reports=held)).attempts:
        ended, held = run_attempt(core, lane, answer.attempts[0], told)
        marks.append(time.process_time())
    return marks


def measure_core(figures: Measurements, folder: Path, trials: int) -> None:
    """A trial at the beginning and at the end, by pruner."""
    window, start = max(50, trials // 10), min(100, trials // 10)
    for pruner in ("none", "asha"):
        scene, told = Scene(folder, sweep_spec(trials, pruner, REPORTS)), DecisionTimes()
        marks = run_on_one_lane(scene.coordinator(), told)
        early = (marks[start + window] - marks[start]) / window * 1e3
        late = (marks[-1] - marks[-1 - window]) / window * 1e3
        figures.add(f"core, pruner {pruner}: a trial at {start}", early, "ms CPU", at_most=20)
        figures.add(f"core, pruner {pruner}: a trial at {trials}", late, "ms CPU", at_most=20)
        if told.decisions:
            last = statistics.mean(told.decisions[-window:]) * 1e3
            figures.add(f"core, asha: a deciding report at {trials} trials", last, "ms CPU", at_most=3)
        else:
            figures.add("core: the last trials beside the first", late / early, at_most=1.2)
        began = time.perf_counter()
        scene.coordinator()
        figures.add(f"core, pruner {pruner}: replaying {trials} trials", time.perf_counter() - began, "s")
        scene.ledger.close()


def measure_rate(figures: Measurements, folder: Path, seconds: float) -> None:
    """Reports a second that the core commits, five a heartbeat, from 64 lanes in turn."""
    scene = Scene(folder, sweep_spec(LANES, "none", 10_000_000))
    core = scene.coordinator()
    lanes = [lane_handshake(number) for number in range(LANES)]
    running = []
    for lane in lanes:
        core.register_lane(lane)
        running.append(core.next_attempts(lane).attempts[0])
    epoch = 1
    for together in (1, 5):
        began, calls = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            lane, work = lanes[calls % LANES], running[calls % LANES]
            epochs = range(epoch, epoch + together)
            core.heartbeat(lane, work.attempt, [epoch_report(number) for number in epochs])
            calls, epoch = calls + 1, epoch + (together if calls % LANES == LANES - 1 else 0)
        rate = calls * together / (time.perf_counter() - began)
        epoch += together  # of a round that the time cut off
        bar = 5_000 if together == 5 else None
        figures.add(f"core: reports committed a second, {together} a call", rate, "/s", at_least=bar)
    scene.ledger.close()
