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

import json
import math
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert

from benchmarks.figures import Measurements, parser, print_progress
from benchmarks.sweeps import run_sweep, temporary_home
from benchmarks.work import calibrate
from infra.coordinator.core import Coordinator
from infra.coordinator.messages import Assignment, AttemptResult, EpochReport, HeartbeatReply, LaneHandshake
from infra.coordinator.shell.actor import actor_class
from infra.coordinator.shell.status import ActorSettings
from infra.lanes.attempt_hooks import AttemptHooks
from infra.ledger import schema
from infra.ledger.database import open_engine
from infra.ledger.liveness import describe_this_process
from infra.ledger.store import Ledger
from infra.spec import Budget, FamilySpec, Objective, SweepSpec
from infra.storage.checkpoints import CheckpointStore
from search_spaces.space import Space

if TYPE_CHECKING:
    from ray import ObjectRef
    from ray.actor import ActorHandle

    from search_spaces.values import ParamValue

GOAL = "val/accuracy"
SPACE: dict[str, ParamValue] = {
    "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-1, "log": True},
    "optimizer": {"type": "categorical", "choices": ["sgd", "adam", "rmsprop"]},
    "momentum": {"type": "float", "low": 0.0, "high": 0.99, "when": {"optimizer": ["sgd", "rmsprop"]}},
    "batch_size": {"type": "int", "low": 16, "high": 128, "log": True},
}
REPORTS = 5
LANES, A_SECOND, LONG = 64, 2_000, 25
EVENTS_AT_ONCE = 50_000
CALL_LIMIT_S = 60.0
FILE = """
name: lanes
data: {{source: none}}
objective: {{metric: score, direction: maximize}}
budget: {{trials: {trials}, epochs: {epochs}}}
search: {{sampler: random, pruner: {pruner}}}
resources: {{lanes: {lanes}}}
families:
  benchmarks.work:{function}:
    space: {{x: {{type: float, low: 0, high: 1}}, steps: {steps}}}
"""


def sweep_spec(trials: int, pruner: str, reports: int, sampler: str = "random") -> SweepSpec:
    """A sweep of one family that trains nothing."""
    family = FamilySpec(
        name="noop",
        reference="noop",
        space=Space.from_mapping(SPACE).to_json(),
        trials=trials,
        budget=Budget(epochs=reports),
        sampler={"name": sampler},
        pruner={"name": pruner},
    )
    goals = (Objective(metric=GOAL, direction="maximize"),)
    return SweepSpec(name="bench", objectives=goals, families=(family,))


def lane_handshake(number: int) -> LaneHandshake:
    """A lane that is only a name."""
    return LaneHandshake(
        lane=f"lane-{number}", shape="1x1cpu", host="elsewhere", pid=number, pid_started_at=0.0
    )


@dataclass
class Scene:
    """A ledger on disk with one sweep in it, and who coordinates it."""

    folder: Path
    spec: SweepSpec
    token: str = ""

    def __post_init__(self) -> None:
        self.url = f"sqlite:///{self.folder / f'ledger-{time.time_ns()}.db'}"
        self.ledger = Ledger(self.url, create=True)
        self.sweep_id = self.ledger.create_sweep(self.spec, fingerprint="none", facts={}, at=time.time())

    def coordinator(self) -> Coordinator:
        """One that takes the sweep over."""
        claimant = describe_this_process()
        self.token = claimant.token
        epoch, _ = self.ledger.claim(self.sweep_id, claimant, lambda owner: True)
        return Coordinator(self.ledger, self.sweep_id, epoch=epoch)


# -- the core ----------------------------------------------------------------------------------------------


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
    for together in (1, 5):
        epoch, began, calls = 1_000_000 * together, time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            lane, work = lanes[calls % LANES], running[calls % LANES]
            epochs = range(epoch, epoch + together)
            core.heartbeat(lane, work.attempt, [_report(number) for number in epochs])
            calls, epoch = calls + 1, epoch + (together if calls % LANES == LANES - 1 else 0)
        rate = calls * together / (time.perf_counter() - began)
        bar = 5_000 if together == 5 else None
        figures.add(f"core: reports committed a second, {together} a call", rate, "/s", at_least=bar)
    scene.ledger.close()


def _report(epoch: int) -> EpochReport:
    metrics = {GOAL: 0.5, "val/loss": 0.7, "train/loss": 0.6, "train/epoch_seconds": 0.1}
    return EpochReport(epoch=epoch, metrics=metrics, at=time.time())


# -- the actor ---------------------------------------------------------------------------------------------


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
    payload = json.dumps({"epoch": 1, "metrics": _report(1).metrics})
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


# -- real lanes --------------------------------------------------------------------------------------------


def measure_lanes(figures: Measurements, trials: int, limit_s: float) -> None:
    """Reports of two lanes that train, and trials of one that does nothing."""
    with temporary_home() as folder:
        stamps = folder / "stamps"
        written = FILE.format(
            trials=trials, epochs=20, pruner="{name: asha, min_epochs: 1, reduction: 2}", lanes=2,
            function="train_timed", steps=calibrate(1.0),
        )  # fmt: skip
        run_sweep(folder, written, limit_s=limit_s, stamps=stamps)
        told = [line.split() for file in stamps.iterdir() for line in file.read_text().splitlines()]
        for kind, bar in (("report", 0.5), ("decide", 5.0)):
            took = [float(words[1]) * 1e3 for words in told if words[0] == kind]
            note = f"of {len(took)}; p99 {sorted(took)[int(0.99 * len(took))]:.1f} ms"
            figures.add(
                f"two lanes that train: a {kind}, median", statistics.median(took), "ms", at_most=bar,
                note=note,
            )  # fmt: skip
    with temporary_home() as folder:
        written = FILE.format(trials=300, epochs=1, pruner="none", lanes=1, function="noop", steps=5)
        ended = run_sweep(folder, written, limit_s=limit_s).end_times()
        each = (ended[-1] - ended[100]) / (len(ended) - 101) * 1e3
        figures.add("one lane: a trial that does nothing", each, "ms", at_most=20, note="5 wanted")


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
