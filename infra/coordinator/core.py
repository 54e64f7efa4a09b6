"""The coordinator: which attempt runs on which lane, and what came of it. No Ray, and a clock from outside.

Every public method is one event. It first settles what an earlier one left to do (asking ahead for the
next trial), changes the state in memory and writes one batch; a method that returns has happened. When a
write fails the object must be thrown away and made again from the ledger: memory may be ahead of it.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict

from infra.coordinator import policy
from infra.coordinator.attempts import (
    STACK_LIMIT,
    Attempts,
    RunningAttempt,
    escape_unstorable,
    stack_limit,
)
from infra.coordinator.lane_table import PROCESS_ENDED, LaneTable
from infra.coordinator.messages import (
    Assignment,
    AttemptReports,
    AttemptResult,
    EpochReport,
    HeartbeatReply,
    LaneHandshake,
    LaneWork,
    StackChoice,
    StackHeartbeatReply,
    StackRequest,
)
from infra.coordinator.placement import shape_name
from infra.coordinator.questions import TrialQuestions
from infra.coordinator.sick_lanes import NODE_LEFT, SickLanes
from infra.coordinator.trial_table import TrialTable
from infra.coordinator.usage import BudgetUsage
from infra.coordinator.warm_start import teach_earlier_trials
from infra.gpus.deciding import GpuRoom
from infra.gpus.sharing import ALONE, SHARED_FULL, GpuSharing
from infra.ledger import views
from infra.ledger.broken_families import MENDED
from infra.ledger.requeue import requeue_trial
from infra.ledger.rows import SweepRow, TrialRow
from infra.ledger.store import Ledger
from infra.search.growth import limit_to_grids
from infra.search.pruners import deciding_reports, pruner_options
from infra.search.study import Studies
from infra.secrets import redact
from infra.spec import FamilySpec, Resources, extend_families
from trainers.loop.device_memory import gibibytes

if TYPE_CHECKING:
    from trainers.types import Document, Json, Params

_log = logging.getLogger(__name__)
IDLE_WAIT_S = 0.25
PASSING_FACTS = frozenset({"stopping", "stop_cause", "lanes", "claim", "sick_nodes"})  # of one driver


class _Earlier(TypedDict):
    earlier: Mapping[int, Mapping[str, float]]
    earlier_seconds: float


class Coordinator:
    """One sweep's coordinator. Not thread-safe: its shell serialises calls."""

    def __init__(
        self,
        ledger: Ledger,
        sweep_id: int,
        *,
        epoch: int,
        role: str = "search",
        lanes: int = 1,
        resources: Mapping[str, Resources] | None = None,
        same_driver: bool = False,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
        starved: Callable[[LaneHandshake], bool] = lambda hello: False,
        structure_of: Callable[[FamilySpec, Params], str | None] = lambda family, params: None,
        gpu_rooms: Mapping[str, GpuRoom] | None = None,
    ) -> None:
        """Takes over from what the ledger says.

        Args:
            epoch: the owner epoch that was claimed for this object.
            role: `search` asks Optuna for trials; `confirm` runs the confirmations that wait.
            lanes: how many trials run at once, for the size of the first batch.
            resources: what a worker of each family gets, settled on this cluster; families of one shape
                share lanes.
            same_driver: an earlier coordinator of this driver died; its lanes live and their attempts go on.
            clock: seconds since 1970, for when something happened; people and daemons set it.
            steady: seconds that only pass, for how long something took.
            starved: whether a process that is gone was ended because memory ran out.
            structure_of: the structure of a family's parameters; trials of the same may be one stack. None:
                alone.
            gpu_rooms: of families whose lanes may come to share GPUs, what the cluster has for them.
        """
        self._starved = starved
        self._held = False
        self._ledger, self._epoch, self._role, self._lanes = ledger, epoch, role, lanes
        self._clock, self._steady = clock, steady
        self.sweep: SweepRow = views.sweep_by_id(ledger, sweep_id)
        self.spec = limit_to_grids(self.sweep.spec)
        self.state = "running"
        records = views.journal_records(ledger, sweep_id) if role == "search" else ()
        self._studies = Studies(self.spec, records) if role == "search" else None
        known, mended = views.trials(ledger, sweep_id, role=role), self.sweep.facts.get(MENDED)
        self.book = TrialTable(self.spec, known, asks=role == "search", mended=mended)
        self._attempts = Attempts(self.spec, self.book, self._studies, clock, steady)
        settled = dict(resources or {family.name: family.resources for family in self.spec.families})
        self._sharing = GpuSharing(
            settled, gpu_rooms or {}, self.sweep.facts, self._set_facts, self._count_left,
            same_driver=same_driver,
        )  # fmt: skip
        self._resources = self._sharing.resources
        self._questions = TrialQuestions(
            self.book, self._studies, self._resources, lanes=lanes, clock=clock,
            record=self._record_question, lanes_a_gpu=lambda: self._sharing.widest,
        )  # fmt: skip
        self._structure_of = structure_of
        self._roster = LaneTable(steady)
        self.sick = SickLanes(
            self._attempts, self._roster, self.book, clock, self.sweep.facts, self._set_facts
        )
        self._ask_due: list[str] = []  # shapes for which a trial is to be asked ahead
        self.stopping: str | None = None
        self._stop_cause = policy.StopCause.REQUEST
        self._spending = BudgetUsage(self.sweep.facts.get("spent", {}), steady())
        self._take_over(same_driver)

    def register_lane(self, hello: LaneHandshake) -> None:
        """A lane's process is there. One that had the slot before it is gone, and its attempt with it."""
        self.prefetch_trials()
        former = self._roster.holder(hello.lane)
        if self._roster.register(hello):
            self._fail_lane(hello.lane, PROCESS_ENDED, former)
        self._commit()

    def next_attempts(
        self,
        hello: LaneHandshake,
        *,
        ended: AttemptResult | None = None,
        reports: Sequence[EpochReport] = (),
        limit: int = 1,
    ) -> LaneWork:
        """What the lane does next.

        Args:
            ended: how its last attempt went.
            reports: of that attempt, those that may not have arrived.
            limit: how many attempts the lane can take at once; today one is handed out. 0: a new process of
                the lane will ask for the next, if there is one.
        """
        self.prefetch_trials()
        if not self._roster.admit(hello):
            return LaneWork(fenced=True)
        if ended is not None:
            self._attempts.record_reports(ended.attempt, hello.lane, reports)
            self._end_attempt(ended, hello.lane)
            if not self._roster.admit(hello):  # that end showed that the process is spoilt
                self._commit()
                return LaneWork(fenced=True)
        left = hello.shape in self.demand and not self._is_ending
        work = self._next_work(hello) if limit > 0 else LaneWork(wait_s=IDLE_WAIT_S, leave=not left)
        if work.leave:
            self._roster.remove(hello.lane)
        self._commit()
        return work

    def refill_stack(
        self,
        hello: LaneHandshake,
        request: StackRequest,
        *,
        ended: Sequence[AttemptResult] = (),
        reports: AttemptReports | None = None,
    ) -> LaneWork:
        """More trials of the structure that a lane trains a stack of, as many as it has places for.

        Args:
            ended: how members of the stack ended.
            reports: of those, what may not have arrived.
        """
        self.prefetch_trials()
        if not self._roster.admit(hello):
            return LaneWork(fenced=True)
        for one in ended:
            self._attempts.record_reports(one.attempt, hello.lane, (reports or {}).get(one.attempt, ()))
            self._end_attempt(one, hello.lane)
        spoilt = not self._roster.admit(hello)
        work = LaneWork(fenced=True) if spoilt else self._fill_stack(hello, request)
        self._commit()
        return work

    def record_stack_choice(self, hello: LaneHandshake, choice: StackChoice) -> None:
        """Keeps how a lane trains a structure's trials, for whoever looks; the last word counts."""
        self.prefetch_trials()
        if self._roster.admit(hello):
            told = {"width": choice.width, "gain": choice.gain, "reason": choice.reason}
            known: Document = self.sweep.facts.get("stacks", {})
            family = {**known.get(choice.family, {}), choice.structure: told}
            self._set_facts(stacks={**known, choice.family: family})
            self._attempts.batch.add_event(
                "stack", self._clock(), {"family": choice.family, "structure": choice.structure, **told}
            )
        self._commit()

    def report_attempt_failure(self, ended: AttemptResult, reports: Sequence[EpochReport] = ()) -> None:
        """A process of the lane, whichever rank it is, says that the attempt failed and that it ends itself.

        Only the lane's first process is known here; that the attempt is under way is proof enough. Where it
        is a stack's, any member may be at fault.
        """
        self.prefetch_trials()
        running = self._attempts.running.get(ended.attempt)
        if running is not None:
            self._attempts.record_reports(ended.attempt, running.lane, reports)
            together = self._attempts.on_lane(running.lane)
            if len(together) > 1 and ended.fault is None:
                self._attempts.break_stack(together, ended.reason, ended.detail)
            else:
                self._end_attempt(ended, running.lane)
        self._commit()

    def note_held_memory(self, hello: LaneHandshake, held_bytes: int) -> None:
        """A lane's process could not give back what a trial took of its GPU, and ends itself for that."""
        self.prefetch_trials()
        if self._roster.admit(hello):
            told: Document = {"lane": hello.lane, "host": hello.host, "held_bytes": held_bytes}
            self._attempts.batch.add_event("gpu-held", self._clock(), told)
            _log.warning(
                "lane %s on %s is replaced: after its last trial its process holds %s of its GPU",
                hello.lane, hello.host, gibibytes(held_bytes),
            )  # fmt: skip
        self._commit()

    def heartbeat(
        self, hello: LaneHandshake, attempt: str | None, reports: Sequence[EpochReport] = ()
    ) -> HeartbeatReply:
        """A heartbeat, with what has been reported since the last message."""
        reply = self.heartbeat_stack(hello, {} if attempt is None else {attempt: reports})
        void = attempt is None or attempt in reply.void
        return HeartbeatReply(void=void, stop=reply.stop, fenced=reply.fenced)

    def heartbeat_stack(self, hello: LaneHandshake, reports: AttemptReports) -> StackHeartbeatReply:
        """A heartbeat of a lane with several attempts, and what each has reported since the last message."""
        self.prefetch_trials()
        if not self._roster.admit(hello):
            return StackHeartbeatReply(void=frozenset(reports), fenced=True)
        for attempt, told in reports.items():
            self._attempts.record_reports(attempt, hello.lane, told)
        self._commit()
        void = frozenset(reports) - self._attempts.running.keys()
        return StackHeartbeatReply(void=void, stop=self.stopping is not None or self.sick.is_leaving(hello))

    def decide(self, hello: LaneHandshake, attempt: str, reports: Sequence[EpochReport]) -> bool:
        """Takes reports, the last of which the pruner judges. False: the trial ends here."""
        return attempt in self.decide_stack(hello, {attempt: reports})

    def decide_stack(self, hello: LaneHandshake, reports: AttemptReports) -> frozenset[str]:
        """As `decide` for several attempts, in their order; gives those that go on."""
        self.prefetch_trials()
        if not self._roster.admit(hello):
            return frozenset()
        go_on = set()
        for attempt, told in reports.items():
            if attempt in self._attempts.running:
                epoch = told[-1].epoch
                own = self._attempts.record_reports(attempt, hello.lane, told, judged=epoch)
                if not (own and self._attempts.try_prune(attempt, epoch)):
                    go_on.add(attempt)
                else:
                    self.sick.note_pruned(hello, attempt)
        self._commit()
        return frozenset(go_on)

    def tick(self, alive: Callable[[LaneHandshake], bool] = lambda hello: True) -> None:
        """What passes with time: lost lanes, requests of other commands, budgets, the end.

        Args:
            alive: whether a lane's process is known to exist (True where that cannot be seen from here).
        """
        self.prefetch_trials()
        for gone, why in self._roster.expire_lanes(self.spec.limits.lease_s, alive):
            self._fail_lane(gone.lane, why, gone)
        self._answer_requests()
        self._update_usage(self._steady())
        self._settle_paused()
        if self.state == "running" and self.is_done:
            self._conclude_sweep()
        self._commit()

    def stop(self, why: str) -> None:
        """Asks every lane to write a checkpoint and leave; running trials go back to waiting."""
        self.prefetch_trials()
        self._request_stop(why)
        self._commit()

    def _request_stop(self, why: str, cause: policy.StopCause = policy.StopCause.REQUEST) -> None:
        if self.stopping is None:
            self.stopping, self._stop_cause = why, cause
            self._set_facts(
                stopping=why, stop_cause=cause
            )  # for a coordinator that follows this one under the same driver

    def conclude_stop(self) -> None:
        """After a stop: what still runs goes back to waiting, and the sweep's state says so."""
        self.prefetch_trials()
        for running in list(self._attempts.running.values()):
            self._attempts.return_to_waiting(running, "stopped", self.stopping or "")
        if self.state == "running":
            state = "finished" if self._stop_cause is policy.StopCause.BUDGET else "stopped"
            self._set_state(state, self.stopping or "")
        self._commit()

    def hand_over(self) -> None:
        """Writes what is known here alone, for a coordinator that goes on under the same driver."""
        self.prefetch_trials()
        self._update_usage(self._steady())
        if self._role == "search":
            self._set_facts(spent=self._spending.used)
        self._commit()

    @property
    def is_done(self) -> bool:
        """Whether every trial that was asked for, and every one that may be, has ended."""
        return not any(
            self.book.count_to_ask(family.name) or self.book.open_trials(family.name)
            for family in self.spec.families
        )

    @property
    def lanes(self) -> int:
        """How many lanes are in."""
        return len(self._roster)

    @property
    def lanes_by_run(self) -> Mapping[str, int]:
        """How many lanes of each Ray Train run are in."""
        return self._roster.count_by_run()

    def record_supply(self, planned: int, waits_for: str, claim: Json = None) -> None:
        """Keeps how many lanes there are to be, what they wait for and what the sweep claims of its cluster,
        for whoever looks."""
        lanes: Document = {"planned": planned, "up": self.lanes, "waits_for": waits_for}
        told: dict[str, Json] = {"lanes": lanes, "claim": claim}
        if any(self.sweep.facts.get(name) != fact for name, fact in told.items()):
            self._set_facts(**told)
        self._commit()

    @property
    def running(self) -> int:
        """How many attempts are under way."""
        return len(self._attempts.running)

    @property
    def demand(self) -> dict[str, tuple[Resources, int]]:
        """For each shape that trials need, its resources and how many of them have not ended."""
        counts: Counter[str] = Counter()
        by_shape: dict[str, Resources] = {}
        for name in self._sharing.families:
            for trial in self.book.open_trials(name):
                if (trial.origin or {}).get(ALONE):  # first, while GPUs come free: else they wait for the end
                    counts[shape_name(self._trial_resources(trial))] = 0
        for family in self.spec.families:
            usual = self._resources[family.name]
            needs = [(usual, self.book.count_to_ask(family.name))]
            needs += [(self._trial_resources(trial), 1) for trial in self.book.open_trials(family.name)]
            for resources, count in needs:
                by_shape[shape_name(resources)] = resources
                counts[shape_name(resources)] += count
        return {shape: (by_shape[shape], count) for shape, count in counts.items() if count}

    @property
    def gpu_lanes(self) -> Mapping[str, str]:
        """By family whose lanes may share GPUs, how many lanes one has and why, in words."""
        return self._sharing.words

    @property
    def run_sizes(self) -> dict[str, int]:
        """Of shapes whose lanes may come to share a GPU, how many lanes a run has at most: as many as a GPU
        has, so that each GPU is given back by itself. Families that say how many GPUs they need know no such
        thing, nor do others that share lanes with them."""
        fixed = {shape_name(r) for name, r in self._resources.items() if not self._sharing.shares(name)}
        shapes = {shape_name(resources): lanes for resources, lanes in self._sharing.list_shapes()}
        return {shape: lanes for shape, lanes in shapes.items() if shape not in fixed}

    def take_dropped_folders(self) -> list[str]:
        """Folders of models and checkpoints that nobody needs any more, once."""
        dropped, self._attempts.dropped_folders = self._attempts.dropped_folders, []
        return dropped

    def take_lost_lanes(self) -> list[LaneHandshake]:
        """Processes that were given up and must end, once."""
        return self._roster.take_lost()

    def prefetch_trials(self) -> None:
        """Asks ahead, so that a lane never waits for a sampler. Done before anything else happens: the
        question is answered with what was finished when the trial before it started."""
        due, self._ask_due = self._ask_due, []
        for shape in due:
            self._questions.ask_next(self.spec, shape)
        if due:
            self._commit()

    def _next_work(self, hello: LaneHandshake) -> LaneWork:
        if self._is_ending:
            return LaneWork(leave=True)
        lost = self._attempts.on_lane(hello.lane)  # the answer to an earlier call was lost on its way
        if lost:
            return LaneWork(attempts=tuple(self._make_assignment(one.trial, one.attempt) for one in lost))
        if not self.sick.takes_more(hello):
            return LaneWork(leave=True)
        fits = self._shape_filter(hello.shape)
        self._attempts.resume_paused(fits)
        trial = self.book.take_waiting(fits)
        if trial is None and self._questions.ask_next(self.spec, hello.shape):
            trial = self.book.take_waiting(fits)
        if trial is None:
            self._settle_paused()
            busy = any(fits(running.trial) for running in self._attempts.running.values())
            return LaneWork(wait_s=IDLE_WAIT_S) if busy else LaneWork(leave=True)
        return LaneWork(attempts=(self._start_attempt(trial, hello),))

    def _fill_stack(self, hello: LaneHandshake, request: StackRequest) -> LaneWork:
        fits, found = self._stack_filter(hello.shape, request), list[Assignment]()
        for running in self._attempts.on_lane(hello.lane):
            if running.attempt not in request.holding:  # the answer to an earlier call was lost on its way
                found.append(self._make_assignment(running.trial, running.attempt))
        takes_more = self.sick.takes_more(hello) and not self._is_ending
        places = self._fair_share(hello.shape) - len(request.holding) if takes_more else 0
        while len(found) < min(request.limit, places):
            self._attempts.resume_paused(fits)
            trial = self.book.take_waiting(fits)
            if trial is None and self._asks_for_stack(hello.shape, request):
                trial = self.book.take_waiting(fits)
            if trial is None:
                break
            found.append(self._start_attempt(trial, hello))
        return LaneWork(attempts=tuple(found))

    def _fair_share(self, shape: str) -> int:
        """How many trials one lane may have at once: no other is to stand idle for it."""
        _, left = self.demand.get(shape, (None, 0))
        return math.ceil(left / (self._lanes * self._sharing.widest))

    def _end_attempt(self, ended: AttemptResult, lane: str) -> None:
        """See `SickLanes.end_attempt`. One that failed since a GPU that it shared was full is tried once more
        with a GPU for itself, and not charged: a neighbour may have taken what it lacked."""
        family = self._attempts.find_family(ended.attempt)
        if family is not None:
            through = ended.outcome in {"complete", "pruned"}
            told = self._sharing.note_use(family, ended.gpu, ended.seconds, ended=through)
            if told is not None:
                self._attempts.batch.add_event("gpu-lanes", self._clock(), told)
        running, use = self._attempts.running.get(ended.attempt), ended.gpu
        lacked = use is not None and use.full and use.lanes > 1 and ended.outcome == "failed"
        mine = running is not None and running.lane == lane and self._sharing.shares(running.trial.family)
        if running is not None and mine and lacked and not (running.trial.origin or {}).get(ALONE):
            running.trial.origin = {**(running.trial.origin or {}), ALONE: True}
            self._attempts.return_to_waiting(running, SHARED_FULL, redact(escape_unstorable(ended.detail)))
            return
        self.sick.end_attempt(ended, lane)

    def _count_left(self, family: str) -> int:
        return self.book.count_to_ask(family) + len(self.book.open_trials(family))

    def _settle_paused(self) -> None:
        """Ends trials that wait at a rung where nothing more can come to it."""
        for name in {trial.family for trial in self.book.paused_trials()} if not self._is_ending else ():
            if not self.book.count_to_ask(name) and not self.book.moving_trials(name):
                self._attempts.end_paused(name)

    def _asks_for_stack(self, shape: str, request: StackRequest) -> bool:
        """Asks for one more trial, unless one of another structure is next in the family's line."""
        in_shape = self._shape_filter(shape)
        other = self.book.has_fresh(lambda trial: trial.family == request.family and in_shape(trial))
        return not other and self._questions.ask_for_stack(self.spec, shape, request.family)

    def _start_attempt(self, trial: TrialRow, hello: LaneHandshake) -> Assignment:
        attempt = f"{self.sweep.id}-{trial.role}-{trial.family}-{trial.number}-{trial.attempts + 1}"
        self._attempts.start(trial, hello, attempt)
        if not self.book.has_fresh(self._shape_filter(hello.shape)) and hello.shape not in self._ask_due:
            self._ask_due.append(hello.shape)
        return self._make_assignment(trial, attempt)

    @property
    def _is_ending(self) -> bool:
        return self.stopping is not None or self.state != "running"

    def _record_question(self, trial: TrialRow) -> None:
        self._attempts.batch.add_event("asked", self._clock(), {"params": trial.params}, trial)

    def _make_assignment(self, trial: TrialRow, attempt: str) -> Assignment:
        family, confirming = self.spec.family(trial.family), trial.role == "confirm"
        goal, keep, having = (
            self.spec.objectives[0],
            self.spec.keep_models,
            self.book.trials_with_model(trial.family),
        )
        return Assignment(
            attempt=attempt, role=trial.role, family=trial.family, number=trial.number,
            ordinal=trial.attempts, params=trial.params, seed=trial.seed, read_test=confirming,
            resumes=trial.attempts > 1,
            deciding=() if confirming else deciding_reports(family.pruner, family.budget.reports),
            keep_above=None if confirming else policy.keep_threshold(goal, keep, having),
            pauses=not confirming and pruner_options(family.pruner).pauses,
            structure=self._find_structure(trial), stack_limit=(trial.origin or {}).get(STACK_LIMIT),
            companions=self._count_left(family.name),
            **self._earlier_attempts(family, attempt),
        )  # fmt: skip

    def _earlier_attempts(self, family: FamilySpec, attempt: str) -> _Earlier:
        running = self._attempts.running[attempt]
        own_code = ":" in family.reference  # ours resume from a checkpoint, or begin again
        return {
            "earlier": dict(running.reports) if own_code else {},
            "earlier_seconds": running.seconds_before,
        }

    def _take_over(self, same_driver: bool) -> None:
        open_trials = sorted(self.book.all_open_trials(), key=lambda trial: trial.created_at)
        for trial in open_trials:
            told = views.trial_events(self._ledger, self.sweep.id, trial) if trial.epochs else []
            self._attempts.remember_reports(trial.key, told)
        for trial in (trial for trial in open_trials if trial.state == "running"):
            known = views.attempts(self._ledger, self.sweep.id, trial.family, trial.number)
            last = [attempt for attempt in known if attempt.role == trial.role][-1]
            before = last.lane_facts.get("seconds_before", trial.seconds)
            self._attempts.adopt(RunningAttempt(last.id, trial, last.lane, seconds_before=before))
            if same_driver:
                self._remember_lane(last.lane, last.lane_facts)
            else:
                self._attempts.return_to_waiting(self._attempts.running[last.id], "driver-ended", "")
        if self.sweep.state != "running" and self._role == "search":
            self._attempts.batch.sweep = {"state": "running"}
        if same_driver:
            self.stopping = self.sweep.facts.get("stopping")
            self._stop_cause = policy.StopCause(self.sweep.facts.get("stop_cause", policy.StopCause.REQUEST))
        elif passing := PASSING_FACTS & self.sweep.facts.keys():  # nodes, too, may be mended by now
            for name in passing:
                del self.sweep.facts[name]
            self._set_facts()
        self._attempts.batch.add_event(
            "session", self._clock(), {"role": self._role, "same_driver": same_driver}
        )
        self._warm_start()
        # The first questions are asked while lanes come up: they load Optuna's and SciPy's modules.
        self._ask_due = [shape for shape in self.demand if not self.book.has_fresh(self._shape_filter(shape))]
        self._commit()

    def _remember_lane(self, lane: str, facts: Document) -> None:
        hello = LaneHandshake(
            lane=lane, shape=facts.get("shape", ""), host=facts["host"], pid=facts["pid"],
            pid_started_at=facts.get("pid_started_at", 0.0), facts=facts,
        )  # fmt: skip
        self._roster.register(hello)

    def _warm_start(self) -> None:
        """Earlier sweeps' trials, told to the sampler once, before the first question."""
        if self._studies is None or self.book.all_trials() or self.sweep.facts.get("warm_started"):
            return
        if self.spec.warm_start:
            self._set_facts(warm_started=teach_earlier_trials(self._ledger, self.spec, self._studies))

    def _fail_lane(self, lane: str, why: str, process: LaneHandshake | None) -> None:
        together, reason = self._attempts.on_lane(lane), "worker-died"
        self._attempts.forget_lane(lane)
        if process is not None and self.sick.is_leaving(process):
            for running in together:
                self._attempts.return_to_waiting(running, NODE_LEFT, why)
            return
        killed = bool(together) and process is not None and self._starved(process)
        if killed:
            reason, why = "out-of-memory", "its process was ended since memory ran out"
        if len(together) > 1:
            self._attempts.break_stack(together, reason, why)
            return
        for running in together:
            self._attempts.fail_attempt(running, reason, why, killed=killed)

    def _answer_requests(self) -> None:
        for request in views.open_requests(self._ledger, self.sweep.id):
            if request.kind == "stop":
                self._request_stop("asked to stop by another command")
            elif request.kind == "extend":
                self._extend_families(request.payload)
            elif request.kind == "retry":
                self._retry_failed(request.payload)
            self._attempts.batch.requests_done.append(request.id)

    def _extend_families(self, payload: Document) -> None:
        self.spec = limit_to_grids(extend_families(self.spec, payload))
        for family in self.spec.families:
            self.book.set_quota(family.name, family.trials)
        self._attempts.batch.sweep["spec"] = self.spec
        told = {"families": {family.name: family.trials for family in self.spec.families}}
        self._attempts.batch.add_event("grown", self._clock(), told)

    def _retry_failed(self, payload: Document) -> None:
        for trial in self.book.all_trials():
            if trial.state == "failed":
                requeue_trial(trial, payload.get("resources"))
                self.book.queue(trial)
                self._attempts.batch.add_event("retry", self._clock(), payload, trial)

    def _update_usage(self, now: float) -> None:
        save_due = self._spending.is_save_due(now)
        if save_due:
            self._attempts.save_seconds()
        if self._role != "search":  # the budget is the search's: a sweep that used it up can be confirmed
            return
        by_lane = {running.lane: running.trial for running in self._attempts.running.values()}
        self._spending.add_time(now, [self._held_resources(lane, trial) for lane, trial in by_lane.items()])
        why = self._spending.find_exhausted(self.spec)
        if why is not None and self.state == "running":
            self._request_stop(why, policy.StopCause.BUDGET)
        if save_due:
            self._set_facts(spent=self._spending.used)

    def _conclude_sweep(self) -> None:
        succeeded = any(trial.state == "complete" for trial in self.book.all_trials())
        if self._role == "search":
            self._set_facts(spent=self._spending.used)
        self._set_state("finished" if succeeded else "failed", "")

    def _set_state(self, state: str, why: str) -> None:
        self.state = state
        if self._role == "search":
            self._attempts.batch.sweep.update({"state": state, "updated_at": self._clock()})
        self._attempts.batch.add_event(
            "concluded", self._clock(), {"state": state, "why": why, "role": self._role}
        )

    def _set_facts(self, **facts: Json) -> None:
        self.sweep.facts.update(facts)
        self._attempts.batch.sweep["facts"] = self.sweep.facts

    def _shape_filter(self, shape: str) -> Callable[[TrialRow], bool]:
        return lambda trial: shape_name(self._trial_resources(trial)) == shape

    def _stack_filter(self, shape: str, request: StackRequest) -> Callable[[TrialRow], bool]:
        """Trials that fit beside those that a lane has; one whose stack ended its lane fits a small one."""
        in_shape, held = self._shape_filter(shape), len(request.holding)

        def fits(trial: TrialRow) -> bool:
            if trial.family != request.family or not in_shape(trial):
                return False
            small = held + request.limit <= stack_limit(trial)
            return small and self._find_structure(trial) == request.structure

        return fits

    def _find_structure(self, trial: TrialRow) -> str | None:
        family = self.spec.family(trial.family)
        if family.stack in (None, "off") or stack_limit(trial) < 2:
            return None
        return self._structure_of(family, trial.params)

    def _trial_resources(self, trial: TrialRow) -> Resources:
        """What a worker of the trial gets: its family's resources, or what `retry` gave it."""
        alone = (trial.origin or {}).get(ALONE)
        usual = self._sharing.whole(trial.family) if alone else self._resources[trial.family]
        return replace(usual, **(trial.resources or {}))

    def _held_resources(self, lane: str, trial: TrialRow) -> Resources:
        """What the trial's lane holds, which began perhaps before lanes came to share GPUs."""
        resources, process = self._trial_resources(trial), self._roster.holder(lane)
        held = None if process is None else process.facts.get("gpus")
        if not isinstance(held, float) or not self._sharing.shares(trial.family):
            return resources
        return replace(resources, gpus=held)

    @contextlib.contextmanager
    def batch_events(self) -> Iterator[None]:
        """Events within the block are written as one batch at its end, and have happened then."""
        self._held = True
        try:
            yield
        finally:
            self._held = False
        self._commit()

    def _commit(self) -> None:
        if self._held:
            return
        batch = self._attempts.batch
        if self._studies is not None:
            batch.journal = self._studies.journal.take_records()
        if not batch.is_empty:
            self._ledger.commit(self.sweep.id, self._epoch, batch)
            self._attempts.batch = type(batch)()
