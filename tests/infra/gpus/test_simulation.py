"""A sweep with `gpus: auto` on GPUs that fill up: coordinator and plans are real, time and memory are not."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from hypothesis import example, given, settings
from hypothesis import strategies as st

from infra.coordinator.core import Coordinator
from infra.coordinator.messages import Assignment, AttemptResult, LaneHandshake
from infra.coordinator.placement import Node, RunPlan, gpu_rooms, plan_runs, resolve_shapes
from infra.gpus.deciding import LEVELS
from infra.gpus.use import GpuUse, lanes_of
from infra.ledger import views
from infra.ledger.rows import OwnerRow
from tests.infra.conftest import GOAL, Bench, family, sweep
from tests.infra.gpus.fake_memory import GIB

TOTAL = 24
MOST_STEPS = 3_000


@dataclass(eq=False)
class Lane:
    """One lane, the GPU that its share is of, and what it trains."""

    hello: LaneHandshake
    gpus: float
    gpu: int
    work: Assignment | None = None
    ended: AttemptResult | None = None
    gone: bool = False


@dataclass
class Machine:
    """Some GPUs of 24 GiB, and lanes on them as the plans say."""

    coordinator: Coordinator
    node: Node
    peaks: list[int]
    random: Random
    runs: list[tuple[RunPlan, list[Lane]]] = field(default_factory=list)
    begun: int = 0
    most_at_once: int = 0

    def lanes(self) -> list[Lane]:
        return [lane for _, lanes in self.runs for lane in lanes if not lane.gone]

    def plan(self) -> None:
        """As the driver does: what has ended is free, and what is free is planned."""
        self.runs = [(plan, lanes) for plan, lanes in self.runs if any(not lane.gone for lane in lanes)]
        demand, running = self.coordinator.demand, [plan for plan, _ in self.runs]
        counts = {
            shape: count - sum(plan.lanes for plan in running if plan.shape == shape)
            for shape, (_, count) in demand.items()
        }
        shapes = {shape: resources for shape, (resources, _) in demand.items()}
        sizes = self.coordinator.needs.run_sizes
        for plan in plan_runs(shapes, counts, [self.node], None, running=running, run_sizes=sizes):
            lanes: list[Lane] = []
            self.runs.append((plan, lanes))
            for slot in range(plan.lanes):
                lanes.append(self.begin(plan, slot))

    def begin(self, plan: RunPlan, slot: int) -> Lane:
        """A lane of a run, on the fullest GPU that has its share free, as Ray places it."""
        self.begun += 1
        gpus = plan.resources.gpus or 0.0
        free = dict.fromkeys(range(int(self.node.gpus)), 1.0)
        for _, lanes in self.runs:  # what a run has is free once all of it has ended
            for lane in lanes:
                free[lane.gpu] -= lane.gpus
        gpu = min((left, gpu) for gpu, left in free.items() if left >= gpus)[1]
        hello = LaneHandshake(
            lane=f"run{self.begun}-{slot}", shape=plan.shape, host="h", pid=self.begun, pid_started_at=1.0,
            facts={"gpus": gpus},
        )  # fmt: skip
        self.coordinator.register_lane(hello)
        return Lane(hello, gpus, gpu)

    def step(self) -> None:
        """A lane's trial ends, or it asks for one."""
        lane = self.random.choice(self.lanes())
        if lane.work is not None:
            lane.ended, lane.work = self.end(lane, lane.work), None
        told = self.coordinator.next_attempts(lane.hello, ended=lane.ended)
        lane.ended, lane.gone = None, told.leave
        lane.work = told.attempts[0] if told.attempts else None
        self.most_at_once = max(self.most_at_once, sum(one.work is not None for one in self.lanes()))

    def end(self, lane: Lane, work: Assignment) -> AttemptResult:
        """It is complete if its GPU holds what all that are trained there take."""
        there = [one.work.number for one in self.lanes() if one.work is not None and one.gpu == lane.gpu]
        lanes, full = lanes_of(lane.gpus), sum(self.peaks[number] for number in there) > TOTAL
        peak = min(TOTAL, self.peaks[work.number])
        use = GpuUse(peak_bytes=peak * GIB, total_bytes=TOTAL * GIB, lanes=lanes, full=full)
        if full:
            return AttemptResult(
                attempt=work.attempt, outcome="failed", reason="out-of-memory", detail="no room", gpu=use
            )
        return AttemptResult(
            attempt=work.attempt, outcome="complete", objective=(0.5,), epoch=1, epochs=1,
            metrics={GOAL: 0.5}, gpu=use, seconds=600.0,
        )  # fmt: skip


# Where parts of GPUs were left over, a whole one was planned and there was none.
@example(peaks=[1, 1, 1, 1, 5, 1, 10, 1], gpus=2, cpus=8, seed=52)
@settings(max_examples=20, deadline=None)
@given(
    st.tuples(
        st.lists(st.sampled_from([1, 2]), min_size=2, max_size=4),  # so that lanes come to share
        st.lists(st.sampled_from([1, 2, 3, 5, 10, 20, 30]), min_size=4, max_size=14),
    ).map(lambda drawn: drawn[0] + drawn[1]),
    st.integers(1, 2),
    st.sampled_from([2, 5, 8, 16]),
    st.integers(0, 1_000),
)
def test_trials_that_a_gpu_holds_are_complete_and_uncharged(
    peaks: list[int], gpus: int, cpus: int, seed: int
) -> None:
    node = Node(name="n", cpus=float(cpus), gpus=float(gpus))
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        spec = sweep(family(trials=len(peaks), pruner={"name": "none"}, sampler={"name": "random"}))
        bench.sweep_id = bench.ledger.create_sweep(spec, fingerprint="f", facts={}, at=bench.clock())
        me = OwnerRow(epoch=0, token=bench.token, host="h", pid=1, pid_started_at=0.0)
        epoch, _ = bench.ledger.claim(bench.sweep_id, me, lambda owner: True)
        coordinator = Coordinator(
            bench.ledger, bench.sweep_id, epoch=epoch, lanes=gpus, clock=bench.clock, steady=bench.clock,
            resources=resolve_shapes(spec, [node]), gpu_rooms=gpu_rooms(spec, [node]),
        )  # fmt: skip
        machine = Machine(coordinator, node, peaks, Random(seed))
        for _ in range(MOST_STEPS):
            machine.plan()
            if coordinator.is_done:
                break
            machine.step()
        assert coordinator.is_done
        trials = {trial.number: trial for trial in views.trials(bench.ledger, bench.sweep_id)}
        bench.ledger.close()
    fits = {number: peaks[number] <= TOTAL for number in trials}
    assert len(trials) == len(peaks) or not any(fits.values())  # a family that fails each time is given up
    assert {number: trial.state == "complete" for number, trial in trials.items()} == fits
    assert {number: trial.failures == 0 for number, trial in trials.items()} == fits
    assert all(trial.attempts <= 2 for trial in trials.values())
    assert machine.most_at_once <= min(cpus, LEVELS[-1] * gpus)
