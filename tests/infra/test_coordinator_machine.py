"""The coordinator under any order of events: lanes, deaths, late messages, takeovers, passing time."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from infra.coordinator.core import Coordinator
from infra.coordinator.policy import MAX_FAILURES
from infra.ledger import views
from infra.protocol import Assignment, Ended, LaneHello, Report
from tests.infra.conftest import GOAL, Bench, drive, family, hello, score, sweep

SLOTS = st.sampled_from(["lane-0", "lane-1", "lane-2"])
TRIALS = 5
EPOCHS = 4


@dataclass
class LaneModel:
    """A lane's process as it sees itself; a zombie was given up and does not know it."""

    hello: LaneHello
    work: Assignment | None = None
    epoch: int = 0
    said: Ended | None = None


class Coordinated(RuleBasedStateMachine):
    """One sweep of five trials, ASHA."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.bench = Bench(Path(self._folder.name))
        spec = sweep(family(trials=TRIALS, sampler={"name": "random"}))
        self.coordinator: Coordinator = self.bench.begin(spec)
        self.lanes: dict[str, LaneModel] = {}
        self.zombies: list[LaneModel] = []
        self.pids = iter(range(100, 100_000))
        self.over: dict[int, tuple[object, ...]] = {}

    def teardown(self) -> None:
        """From wherever it stands the sweep comes to its end, and nothing of it is left running."""
        self.coordinator.tick(alive=lambda lane: False)
        if self.coordinator.state == "running":
            drive(self.coordinator, hello("last", next(self.pids)))
            self.coordinator.tick()
        trials = views.trials(self.bench.ledger, self.bench.sweep_id)
        assert len(trials) == TRIALS
        assert all(trial.ended for trial in trials)
        assert self.coordinator.state in {"finished", "failed"}
        study = self.coordinator._studies._studies["noop"]  # type: ignore[union-attr]
        assert all(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
        self.each_trial_ends_once()
        self.bench.ledger.close()
        self._folder.cleanup()

    # -- lanes ---------------------------------------------------------------------------------------------

    @rule(slot=SLOTS)
    def enter(self, slot: str) -> None:
        """A process comes up in a slot; one that was there before is cut off, perhaps without knowing."""
        former = self.lanes.pop(slot, None)
        if former is not None:
            self.zombies.append(former)
        self.lanes[slot] = LaneModel(hello(slot, next(self.pids)))
        self.coordinator.enter(self.lanes[slot].hello)

    @rule(slot=SLOTS, outcome=st.sampled_from(["complete", "error", "not-finite", "stopped", "lost"]))
    def next(self, slot: str, outcome: str) -> None:
        """A lane tells how its attempt ended, if it has one, and pulls the next; maybe the answer is lost."""
        lane = self.lanes.get(slot)
        if lane is None:
            return
        ended = self._ended(lane, outcome) if lane.work is not None else None
        work = self.coordinator.next_attempts(lane.hello, ended=ended)
        if outcome == "lost":  # Ray sends the call again
            assert self.coordinator.next_attempts(lane.hello, ended=ended) == work
        if work.fenced or work.leave:
            del self.lanes[slot]
            return
        lane.work, lane.epoch = (work.attempts[0] if work.attempts else None), 0

    def _ended(self, lane: LaneModel, outcome: str) -> Ended:
        assert lane.work is not None
        attempt = lane.work.attempt
        if outcome in {"error", "not-finite"}:
            return Ended(attempt=attempt, outcome="failed", reason=outcome, detail="told to")
        if outcome == "stopped":
            return Ended(attempt=attempt, outcome="stopped", epochs=lane.epoch)
        value = score(dict(lane.work.params), EPOCHS)
        return Ended(
            attempt=attempt, outcome="complete", objective=(value,), epoch=EPOCHS, epochs=EPOCHS,
            metrics={GOAL: value},
        )  # fmt: skip

    @rule(slot=SLOTS, twice=st.booleans())
    def report(self, slot: str, twice: bool) -> None:
        """A lane trains one epoch."""
        lane = self.lanes.get(slot)
        if lane is None or lane.work is None or lane.epoch >= EPOCHS:
            return
        lane.epoch += 1
        go = self._report(lane)
        if twice:
            self._report(lane)
        if not go:
            lane.work = None

    def _report(self, lane: LaneModel) -> bool:
        assert lane.work is not None
        value = score(dict(lane.work.params), lane.epoch)
        reports = [Report(epoch=lane.epoch, metrics={GOAL: value}, at=self.bench.clock())]
        if lane.work.deciding == "every" or lane.epoch in lane.work.deciding:
            return self.coordinator.decide(lane.hello, lane.work.attempt, reports)
        return not self.coordinator.pulse(lane.hello, lane.work.attempt, reports).void

    @rule(slot=SLOTS)
    def die(self, slot: str) -> None:
        """A lane's process ends, and is seen to."""
        lane = self.lanes.pop(slot, None)
        if lane is not None:
            self.coordinator.tick(alive=lambda other: other.pid != lane.hello.pid)

    @precondition(lambda self: self.zombies)
    @rule(data=st.data())
    def late(self, data: st.DataObject) -> None:
        """A process that was cut off still speaks: nothing of it counts."""
        zombie = data.draw(st.sampled_from(self.zombies))
        before = self._rows()
        if zombie.work is not None:
            zombie.epoch = min(zombie.epoch + 1, EPOCHS)
            self._report(zombie)
            ended = self._ended(zombie, "complete")
            assert self.coordinator.next_attempts(zombie.hello, ended=ended).fenced
        assert self.coordinator.pulse(zombie.hello, None).fenced or zombie.hello.lane not in self.lanes
        assert self._rows()[: len(before)] == before  # one more may have been asked ahead

    # -- around them ---------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1, 10, 16]))
    def passing(self, seconds: int) -> None:
        """Time passes; who was silent for longer than the lease is given up."""
        for _ in range(seconds):
            self.bench.clock.now += 1.0
            self.coordinator.tick()
        lost = {lane.pid for lane in self.coordinator.take_lost_lanes()}
        for slot in [slot for slot, lane in self.lanes.items() if lane.hello.pid in lost]:
            self.zombies.append(self.lanes.pop(slot))

    @rule()
    def coordinator_dies(self) -> None:
        """Another one under the same driver: lanes and attempts go on."""
        self.coordinator = self.bench.take_over(same_driver=True)
        # Who was given up is not remembered by the next one, but where another has the slot with an attempt.
        busy = {slot for slot, lane in self.lanes.items() if lane.work is not None}
        self.zombies = [zombie for zombie in self.zombies if zombie.hello.lane in busy]

    @rule()
    def driver_dies(self) -> None:
        """Another driver: its lanes are new, those of before are gone."""
        self.coordinator = self.bench.take_over(token=f"driver-{next(self.pids)}")
        self.lanes, self.zombies = {}, []

    # -- what always holds ---------------------------------------------------------------------------------

    def _rows(self) -> list[object]:
        trials = views.trials(self.bench.ledger, self.bench.sweep_id)
        return [(t.number, t.state, t.attempts, t.epochs, t.objective) for t in trials]

    @invariant()
    def each_trial_ends_once(self) -> None:
        """And stays as it ended; it has one running attempt at most, and not more failures than allowed."""
        ledger, sweep_id = self.bench.ledger, self.bench.sweep_id
        trials = {trial.number: trial for trial in views.trials(ledger, sweep_id)}
        attempts = views.attempts(ledger, sweep_id)
        events = views.events(ledger, sweep_id)
        assert len(trials) <= TRIALS
        running = Counter(attempt.number for attempt in attempts if attempt.ended_at is None)
        assert running == Counter(number for number, trial in trials.items() if trial.state == "running")
        assert Counter(attempt.number for attempt in attempts) == {
            number: trial.attempts for number, trial in trials.items() if trial.attempts
        }
        ends = Counter(event.number for event in events if event.kind == "ended")
        assert ends == Counter(number for number, trial in trials.items() if trial.ended)
        told = Counter((e.number, e.payload["epoch"]) for e in events if e.kind == "reported")
        assert all(count == 1 for count in told.values())
        for number, trial in trials.items():
            assert trial.failures <= MAX_FAILURES
            if trial.ended:
                row = (trial.state, trial.attempts, trial.epochs, tuple(trial.objective or ()), trial.reason)
                assert self.over.setdefault(number, row) == row


TestCoordinated = Coordinated.TestCase
TestCoordinated.settings = settings(
    max_examples=30,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
