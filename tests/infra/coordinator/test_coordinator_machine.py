"""The coordinator under any order of events: lanes, deaths, late messages, takeovers, passing time, and what
other commands ask of it: more trials, failed ones again, a stop.

Two families, one with ASHA and one without a pruner. `MACHINE_EXAMPLES` runs it for longer.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from infra.coordinator.core import Coordinator
from infra.coordinator.messages import Assignment, AttemptResult, EpochReport, LaneHandshake
from infra.coordinator.policy import MAX_FAILURES
from infra.coordinator.process_faults import ProcessFault
from infra.ledger import views
from tests.infra.conftest import GOAL, Bench, drive, family, hello, score, sweep
from tests.spread import EVERY_WRITE

SLOTS = st.sampled_from(["lane-0", "lane-1", "lane-2"])
EPOCHS = 4
ENDS = ["complete", "error", "not-finite", "out-of-memory", "spoilt", "stopped", "lost"]
FAILURES = {"error", "not-finite", "out-of-memory", "spoilt"}

Key = tuple[str, int]


@dataclass
class LaneModel:
    """A lane's process as it sees itself; a zombie was given up and does not know it."""

    hello: LaneHandshake
    work: Assignment | None = None
    epoch: int = 0
    said: AttemptResult | None = None


class CoordinatorMachine(RuleBasedStateMachine):
    """One sweep that begins with three trials of one family and two of another."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.bench = Bench(Path(self._folder.name))
        self.quota = {"pruned": 3, "whole": 2}
        spec = sweep(
            family("pruned", trials=3, sampler={"name": "random"}),
            family("whole", trials=2, sampler={"name": "random"}, pruner={"name": "none"}),
        )
        self.coordinator: Coordinator = self.bench.begin(spec)
        self.lanes: dict[str, LaneModel] = {}
        self.zombies: list[LaneModel] = []
        self.pids = iter(range(100, 100_000))
        self.over: dict[Key, tuple[object, ...]] = {}
        self.retried: Counter[Key] = Counter()
        self.seen = 0

    def teardown(self) -> None:
        """From wherever it stands the sweep comes to its end, and nothing of it is left running."""
        self.coordinator.tick(alive=lambda lane: False)
        if self.coordinator.state == "running":
            drive(self.coordinator, hello("last", next(self.pids)))
            self.coordinator.tick()
        trials = views.trials(self.bench.ledger, self.bench.sweep_id)
        asked = Counter(trial.family for trial in trials)
        for name, quota in self.quota.items():
            assert asked[name] == quota or self.coordinator.book.is_family_broken(name)
        assert all(trial.has_ended for trial in trials)
        assert self.coordinator.state in {"finished", "failed"}
        for study in self.coordinator._studies._studies.values():  # type: ignore[union-attr]
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
        self.coordinator.register_lane(self.lanes[slot].hello)
        self._pull(slot, None)

    @precondition(lambda self: self.lanes)
    @rule(data=st.data(), outcome=st.sampled_from(ENDS))
    def next(self, data: st.DataObject, outcome: str) -> None:
        """A lane tells how its attempt ended, if it has one, and pulls the next; maybe the answer is lost."""
        slot = data.draw(st.sampled_from(sorted(self.lanes)))
        lane = self.lanes[slot]
        ended = self._ended(lane, outcome) if lane.work is not None else None
        self._pull(slot, ended, lost=outcome == "lost")

    def _pull(self, slot: str, ended: AttemptResult | None, *, lost: bool = False) -> None:
        lane = self.lanes[slot]
        work = self.coordinator.next_attempts(lane.hello, ended=ended)
        if lost:  # Ray sends the call again
            assert self.coordinator.next_attempts(lane.hello, ended=ended) == work
        if work.fenced or work.leave:
            del self.lanes[slot]
            return
        lane.work, lane.epoch = (work.attempts[0] if work.attempts else None), 0

    def _ended(self, lane: LaneModel, outcome: str) -> AttemptResult:
        assert lane.work is not None
        attempt = lane.work.attempt
        if outcome in FAILURES:
            fault = ProcessFault.DEVICE if outcome == "spoilt" else None
            reason = "error" if fault else outcome
            return AttemptResult(
                attempt=attempt, outcome="failed", reason=reason, detail="told to", fault=fault
            )
        if outcome == "stopped":
            return AttemptResult(attempt=attempt, outcome="stopped", epochs=lane.epoch)
        value = score(dict(lane.work.params), EPOCHS)
        return AttemptResult(
            attempt=attempt, outcome="complete", objective=(value,), epoch=EPOCHS, epochs=EPOCHS,
            metrics={GOAL: value},
        )  # fmt: skip

    @precondition(lambda self: self._training())
    @rule(data=st.data(), twice=st.booleans())
    def report(self, data: st.DataObject, twice: bool) -> None:
        """A lane trains one epoch."""
        lane = self.lanes[data.draw(st.sampled_from(self._training()))]
        lane.epoch += 1
        go = self._report(lane)
        if twice:
            self._report(lane)
        if not go:
            lane.work = None

    def _training(self) -> list[str]:
        return sorted(slot for slot, lane in self.lanes.items() if lane.work and lane.epoch < EPOCHS)

    def _report(self, lane: LaneModel) -> bool:
        assert lane.work is not None
        value = score(dict(lane.work.params), lane.epoch)
        reports = [EpochReport(epoch=lane.epoch, metrics={GOAL: value}, at=self.bench.clock())]
        if lane.epoch in lane.work.deciding:
            return self.coordinator.decide(lane.hello, lane.work.attempt, reports)
        return not self.coordinator.heartbeat(lane.hello, lane.work.attempt, reports).void

    @precondition(lambda self: self.lanes)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        """A lane's process ends, and is seen to."""
        lane = self.lanes.pop(data.draw(st.sampled_from(sorted(self.lanes))))
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
        assert self.coordinator.heartbeat(zombie.hello, None).fenced or zombie.hello.lane not in self.lanes
        assert before.items() <= self._rows().items()  # one more may have been asked ahead

    @precondition(lambda self: len(self.lanes) > 1 and self._training())
    @rule(data=st.data())
    def foreign(self, data: st.DataObject) -> None:
        """A lane speaks of an attempt that another one has: nothing of it counts."""
        slot = data.draw(st.sampled_from(self._training()))
        other = self.lanes[data.draw(st.sampled_from(sorted(self.lanes.keys() - {slot})))]
        lane, before = self.lanes[slot], self._rows()
        assert lane.work is not None
        report = EpochReport(epoch=EPOCHS, metrics={GOAL: 2.0}, at=self.bench.clock())
        ended = self._ended(lane, "complete")
        self.coordinator.heartbeat(other.hello, lane.work.attempt, [report])
        self.coordinator.decide(other.hello, lane.work.attempt, [report])
        self.coordinator.next_attempts(other.hello, ended=ended, reports=[report], limit=0)
        assert before.items() <= self._rows().items()

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

    # -- other commands ------------------------------------------------------------------------------------

    @precondition(lambda self: self.coordinator.state == "running")
    @rule(more=st.integers(1, 2), only=st.sampled_from([None, "pruned", "whole"]))
    def extend(self, more: int, only: str | None) -> None:
        """More trials, of one family or of each."""
        payload = {"trials": more} | ({"family": only} if only else {})
        self.bench.ledger.add_request(self.bench.sweep_id, "extend", payload, at=self.bench.clock())
        self.coordinator.tick()
        for name in [only] if only else list(self.quota):
            self.quota[name] += more

    @precondition(lambda self: self.coordinator.state == "running")
    @rule()
    def retry(self) -> None:
        """Failed trials again; nothing else changes."""
        self.bench.ledger.add_request(self.bench.sweep_id, "retry", {}, at=self.bench.clock())
        failed = [key for key, row in self.over.items() if row[0] == "failed"]
        before = self._rows()
        self.coordinator.tick()
        for key in failed:
            del self.over[key]
            self.retried[key] += 1
        assert all(self._rows()[key] == row for key, row in before.items() if key not in failed)

    @precondition(lambda self: self.coordinator.state == "running")
    @rule(checkpoints=st.booleans())
    def stop(self, checkpoints: bool) -> None:
        """Another command asks to stop: lanes leave, perhaps with a checkpoint; the same command goes on."""
        self.bench.ledger.add_request(self.bench.sweep_id, "stop", {}, at=self.bench.clock())
        self.coordinator.tick()
        assert self.coordinator.stopping
        for lane in self.lanes.values() if checkpoints else ():
            ended = self._ended(lane, "stopped") if lane.work is not None else None
            work = self.coordinator.next_attempts(lane.hello, ended=ended)
            assert work.leave or work.fenced
        self.coordinator.conclude_stop()
        assert self.coordinator.running == 0
        assert all(row[0] != "running" for row in self._rows().values())
        self.driver_dies()

    # -- what always holds ---------------------------------------------------------------------------------

    def _rows(self) -> dict[Key, tuple[object, ...]]:
        trials = views.trials(self.bench.ledger, self.bench.sweep_id)
        return {(t.family, t.number): (t.state, t.attempts, t.epochs, t.objective) for t in trials}

    @invariant()
    def each_trial_ends_once(self) -> None:
        """And stays as it ended; it has one running attempt at most, and not more failures than allowed."""
        ledger, sweep_id = self.bench.ledger, self.bench.sweep_id
        trials = {(trial.family, trial.number): trial for trial in views.trials(ledger, sweep_id)}
        attempts = views.attempts(ledger, sweep_id)
        events = views.events(ledger, sweep_id)
        for name, quota in self.quota.items():
            numbers = sorted(number for family, number in trials if family == name)
            assert numbers == list(range(len(numbers)))
            assert len(numbers) <= quota
        running = Counter((a.family, a.number) for a in attempts if a.ended_at is None)
        assert running == Counter(key for key, trial in trials.items() if trial.state == "running")
        assert all(count == 1 for count in Counter(a.lane for a in attempts if a.ended_at is None).values())
        assert Counter((a.family, a.number) for a in attempts) == {
            key: trial.attempts for key, trial in trials.items() if trial.attempts
        }
        for event in events[self.seen :]:
            if event.kind == "retry" and "lane" in event.payload:  # its lane was found to be at fault
                self.over.pop((str(event.family), int(event.number or 0)), None)
                self.retried[str(event.family), int(event.number or 0)] += 1
        self.seen = len(events)
        ends = Counter((event.family, event.number) for event in events if event.kind == "ended")
        assert ends == Counter(key for key, trial in trials.items() if trial.has_ended) + self.retried
        told = Counter((e.family, e.number, e.payload["epoch"]) for e in events if e.kind == "reported")
        assert all(count <= 1 + self.retried[key[:2]] for key, count in told.items())
        for key, trial in trials.items():
            assert trial.failures <= MAX_FAILURES
            assert (trial.state == "failed") == bool(trial.reason)
            if trial.has_ended:
                row = (trial.state, trial.attempts, trial.epochs, tuple(trial.objective or ()), trial.reason)
                assert self.over.setdefault(key, row) == row


TestCoordinated = CoordinatorMachine.TestCase
TestCoordinated.settings = settings(
    max_examples=int(os.environ.get("MACHINE_EXAMPLES", "100" if EVERY_WRITE else "15")),
    stateful_step_count=30,
    deadline=None,
    derandomize="MACHINE_EXAMPLES" not in os.environ,
    suppress_health_check=list(HealthCheck),
)
