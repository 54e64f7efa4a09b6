"""The coordinator's actor under simulated lanes."""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert

from benchmarks.coordinator.scene import (
    A_SECOND,
    GOAL,
    LANES,
    Scene,
    epoch_report,
    lane_handshake,
    sweep_spec,
)
from benchmarks.figures import Measurements
from infra.coordinator.messages import AttemptResult, EpochReport, HeartbeatReply, LaneHandshake
from infra.coordinator.shell.actor import actor_class
from infra.coordinator.shell.status import ActorSettings
from infra.lanes.attempt_hooks import AttemptHooks
from infra.ledger import schema
from infra.ledger.database import open_engine
from infra.ledger.store import Ledger
from infra.storage.checkpoints import CheckpointStore

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorHandle

LONG = 25
EVENTS_AT_ONCE = 50_000
CALL_LIMIT_S = 60.0


class TimedLine:
    """A lane's line to the actor, with the time that each call took."""

    def __init__(self, actor: ActorHandle, lane: LaneHandshake) -> None:
        """Calls nothing."""
        self._actor, self._lane = actor, lane
        self.took: dict[str, list[float]] = {"decide": [], "heartbeat": [], "next": []}

    def _time_call(self, kind: str, send: Callable[[], ObjectRef]) -> Any:
        import ray

        began = time.perf_counter()
        answer = ray.get(send(), timeout=CALL_LIMIT_S)
        self.took[kind].append(time.perf_counter() - began)
        return answer

    def decide(self, attempt: str, reports: list[EpochReport]) -> bool:
        """A deciding report."""
        return bool(
            self._time_call("decide", lambda: self._actor.decide.remote(self._lane, attempt, reports))
        )

    def heartbeat(self, attempt: str | None, reports: list[EpochReport]) -> HeartbeatReply:
        """A heartbeat."""
        pulse: HeartbeatReply = self._time_call(
            "heartbeat", lambda: self._actor.heartbeat.remote(self._lane, attempt, reports)
        )
        return pulse

    def next(self, ended: AttemptResult | None, reports: list[EpochReport]) -> Any:
        """The next attempt."""
        return self._time_call("next", lambda: self._actor.next_attempts.remote(self._lane, ended, reports))


@dataclass(frozen=True, slots=True)
class ActorLoad:
    """What simulated lanes do together. The bars are of the usual load."""

    lanes: int = LANES
    reports_a_second: float = A_SECOND

    @property
    def is_usual(self) -> bool:
        """Whether it is what figures are compared by."""
        return (self.lanes, self.reports_a_second) == (LANES, A_SECOND)


@dataclass
class SimulatedLane:
    """A thread that reports at a pace, by the hooks that real lanes use."""

    line: TimedLine
    number: int
    until: float
    folder: Path
    load: ActorLoad
    reports: int = 0

    def run(self) -> None:
        """Trials of 25 reports; each is a little better than those before, so that none is pruned."""
        pause = self.load.lanes / self.load.reports_a_second
        ended, held = None, list[EpochReport]()
        due = time.perf_counter() + pause * self.number / self.load.lanes
        while time.perf_counter() < self.until:
            work = self.line.next(ended, held).attempts[0]
            hooks = AttemptHooks(work, self.line, CheckpointStore(self.folder / work.attempt))
            beaten = time.perf_counter()
            for epoch in range(1, LONG + 1):
                due = max(due + pause, time.perf_counter() - 1.0)
                time.sleep(max(0.0, due - time.perf_counter()))
                hooks.report(epoch, {GOAL: time.time(), "val/loss": 0.5, "train/loss": 0.5})
                self.reports += 1
                if time.perf_counter() - beaten > 2.0:
                    hooks.send_heartbeat()
                    beaten = time.perf_counter()
            held = hooks.take_undelivered()
            ended = AttemptResult(attempt=work.attempt, outcome="complete", objective=(0.5,), epoch=LONG)


def fill_ledger(url: str, count: int) -> None:
    """Reports of a sweep that is over, 25 a trial."""
    engine = open_engine(url, create=False)
    payload = json.dumps({"epoch": 1, "metrics": epoch_report(1).metrics})
    for start in range(0, count, EVENTS_AT_ONCE):
        numbers = range(start, min(start + EVENTS_AT_ONCE, count))
        rows = [
            {"sweep_id": 1_000_000, "at": 1.8e9 + number, "kind": "report", "role": "search",
             "family": "noop", "number": number // LONG, "payload": payload}
            for number in numbers
        ]  # fmt: skip
        with engine.begin() as connection:
            connection.execute(insert(schema.events), rows)
    engine.dispose()


def measure_actor(figures: Measurements, folder: Path, seconds: float, load: ActorLoad, events: int) -> None:
    """Simulated lanes that report to one actor."""
    import ray

    scene = Scene(folder, sweep_spec(1_000_000, "asha", LONG))
    fill_ledger(scene.url, events)
    began = time.perf_counter()
    Ledger(scene.url).close()
    scene.coordinator()
    figures.add(f"opened and taken over, {events:,} events", time.perf_counter() - began, "s")
    ray.init(address="local", include_dashboard=False, num_cpus=2, log_to_driver=False)
    try:
        settings = ActorSettings(
            ledger_url=scene.url, sweep_id=scene.sweep_id, token=scene.token, role="search", lanes=load.lanes,
            resources={"noop": scene.spec.families[0].resources}, storage=str(folder),
        )  # fmt: skip
        handle = actor_class().options(num_cpus=0).remote(settings)
        for number in range(load.lanes):
            ray.get(handle.register_lane.remote(lane_handshake(number)), timeout=CALL_LIMIT_S)
        _simulate(figures, handle, folder, seconds, load)
    finally:
        ray.shutdown()
        scene.ledger.close()


def _simulate(
    figures: Measurements, handle: ActorHandle, folder: Path, seconds: float, load: ActorLoad
) -> None:
    warm = time.perf_counter() + max(3.0, load.lanes / 50)  # each of them asks for its first trial
    until = warm + seconds
    lanes = [
        SimulatedLane(TimedLine(handle, lane_handshake(number)), number, until, folder, load)
        for number in range(load.lanes)
    ]
    threads = [threading.Thread(target=lane.run, daemon=True) for lane in lanes]
    for thread in threads:
        thread.start()
    time.sleep(max(0.0, warm - time.perf_counter()))
    for lane in lanes:
        lane.reports = 0
        for took in lane.line.took.values():
            took.clear()
    began = time.perf_counter()
    for thread in threads:
        thread.join(seconds + CALL_LIMIT_S)
    lasted = time.perf_counter() - began
    calls = [took for lane in lanes for kind in lane.line.took.values() for took in kind]
    reports = sum(lane.reports for lane in lanes)
    usual, who = load.is_usual, f"actor, {load.lanes} lanes"
    wanted = 0.97 * load.reports_a_second
    figures.add(f"{who}: reports a second", reports / lasted, "/s", at_least=wanted if usual else None)
    figures.add(f"{who}: calls a second", len(calls) / lasted, "/s", at_most=400 if usual else None)
    for kind, words in (
        ("decide", "a deciding call"),
        ("heartbeat", "a heartbeat"),
        ("next", "a next trial"),
    ):
        took = sorted(took for lane in lanes for took in lane.line.took[kind])
        if took:
            p99 = 1e3 * took[int(0.99 * len(took))]
            bar = 50 if usual and kind == "decide" else None
            figures.add(f"{who}: {words}, median", 1e3 * statistics.median(took), "ms")
            figures.add(f"{who}: {words}, p99", p99, "ms", at_most=bar)
