"""The coordinator: which attempt runs on which lane, and what came of it. No Ray, and a clock from outside.

Every public method is one event. It first settles what an earlier one left to do (asking ahead for the
next trial), changes the state in memory and writes one batch; a method that returns has happened. When a
write fails the object must be thrown away and made again from the ledger: memory may be ahead of it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from infra.coordinator.assigning import IDLE_WAIT_S, WorkDesk
from infra.coordinator.attempt_ends import AttemptEnds
from infra.coordinator.attempts import Attempts
from infra.coordinator.lane_table import PROCESS_ENDED, LaneTable
from infra.coordinator.messages import (
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
from infra.coordinator.questions import TrialQuestions
from infra.coordinator.sick_lanes import SickLanes
from infra.coordinator.standing import SweepStanding
from infra.coordinator.takeover import resume_attempts, warm_start
from infra.coordinator.trial_needs import TrialNeeds
from infra.coordinator.trial_table import TrialTable
from infra.coordinator.usage import SweepBudget
from infra.gpus.deciding import GpuRoom
from infra.gpus.sharing import GpuSharing
from infra.ledger import views
from infra.ledger.rows import TrialRow
from infra.ledger.store import Ledger
from infra.search.growth import limit_to_grids
from infra.search.study import Studies
from infra.spec import FamilySpec, Resources
from trainers.types import Document, Json, Params


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
        self._ledger, self._epoch, self._clock, self._steady = ledger, epoch, clock, steady
        self._held = False
        row, searches = views.sweep_by_id(ledger, sweep_id), role == "search"
        spec = limit_to_grids(row.spec)
        self._studies = Studies(spec, views.journal_records(ledger, sweep_id)) if searches else None
        trials = views.trials(ledger, sweep_id, role=role)
        self.book = TrialTable(spec, trials, asks=searches)
        self._attempts = Attempts(spec, self.book, self._studies, clock, steady)
        self._standing = SweepStanding(row, spec, role, self.book, self._attempts, clock)
        sharing = GpuSharing(
            resources or {family.name: family.resources for family in spec.families}, gpu_rooms or {},
            row.facts, self._standing.set_facts, self.book.count_left, same_driver=same_driver,
        )  # fmt: skip
        self.needs = TrialNeeds(self.book, sharing, lanes)
        questions = TrialQuestions(
            self.book, self._studies, sharing.resources, lanes=lanes, clock=clock,
            record=self._record_question, lanes_a_gpu=lambda: sharing.widest,
        )  # fmt: skip
        self._roster = LaneTable(steady)
        self.sick = SickLanes(
            self._attempts, self._roster, self.book, clock, row.facts, self._standing.set_facts
        )
        self._ends = AttemptEnds(self._attempts, self.sick, sharing, clock, starved)
        self._desk = WorkDesk(
            self._standing, self.book, self._attempts, questions, self.needs, self.sick, structure_of
        )
        self._budget = SweepBudget(self._standing, self._attempts, self.needs, self._roster, steady())
        resume_attempts(ledger, sweep_id, self.book, self._attempts, self._roster, same_driver=same_driver)
        self._standing.begin_session(same_driver=same_driver)
        warm_start(ledger, self._standing, self.book, self._studies)
        self._desk.plan_first_questions()
        self._commit()

    def register_lane(self, hello: LaneHandshake) -> None:
        """A lane's process is there. One that had the slot before it is gone, and its attempt with it."""
        self.prefetch_trials()
        former = self._roster.holder(hello.lane)
        if self._roster.register(hello):
            self._ends.fail_lane(hello.lane, PROCESS_ENDED, former)
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
            self._ends.end(ended, hello.lane, reports)
            if not self._roster.admit(hello):  # that end showed that the process is spoilt
                self._commit()
                return LaneWork(fenced=True)
        if limit > 0:
            work = self._desk.next_work(hello)
        else:
            work = LaneWork(wait_s=IDLE_WAIT_S, leave=not self._desk.has_more(hello))
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
            self._ends.end(one, hello.lane, (reports or {}).get(one.attempt, ()))
        spoilt = not self._roster.admit(hello)
        work = LaneWork(fenced=True) if spoilt else self._desk.fill_stack(hello, request)
        self._commit()
        return work

    def record_stack_choice(self, hello: LaneHandshake, choice: StackChoice) -> None:
        """Keeps how a lane trains a structure's trials, for whoever looks; the last word counts."""
        self.prefetch_trials()
        if self._roster.admit(hello):
            self._standing.note_stack_choice(choice)
        self._commit()

    def report_attempt_failure(self, ended: AttemptResult, reports: Sequence[EpochReport] = ()) -> None:
        """A process of the lane, whichever rank it is, says that the attempt failed and that it ends itself.

        Only the lane's first process is known here; that the attempt is under way is proof enough. Where it
        is a stack's, any member may be at fault.
        """
        self.prefetch_trials()
        self._ends.end_of_any_rank(ended, reports)
        self._commit()

    def note_held_memory(self, hello: LaneHandshake, held_bytes: int) -> None:
        """A lane's process could not give back what a trial took of its GPU, and ends itself for that."""
        self.prefetch_trials()
        if self._roster.admit(hello):
            self.sick.note_held_memory(hello, held_bytes)
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
        stop = self.stopping is not None or self.sick.is_leaving(hello)
        return StackHeartbeatReply(void=void, stop=stop)

    def decide(self, hello: LaneHandshake, attempt: str, reports: Sequence[EpochReport]) -> bool:
        """Takes reports, the last of which the pruner judges. False: the trial ends here."""
        return attempt in self.decide_stack(hello, {attempt: reports})

    def decide_stack(self, hello: LaneHandshake, reports: AttemptReports) -> frozenset[str]:
        """As `decide` for several attempts, in their order; gives those that go on."""
        self.prefetch_trials()
        if not self._roster.admit(hello):
            return frozenset()
        go_on = frozenset(attempt for attempt, told in reports.items() if self._goes_on(hello, attempt, told))
        self._commit()
        return go_on

    def _goes_on(self, hello: LaneHandshake, attempt: str, told: Sequence[EpochReport]) -> bool:
        if attempt not in self._attempts.running:
            return False
        epoch = told[-1].epoch
        own = self._attempts.record_reports(attempt, hello.lane, told, judged=epoch)
        if not (own and self._attempts.try_prune(attempt, epoch)):
            return True
        self.sick.note_pruned(hello, attempt)
        return False

    def tick(self, alive: Callable[[LaneHandshake], bool] = lambda hello: True) -> None:
        """What passes with time: lost lanes, requests of other commands, budgets, the end.

        Args:
            alive: whether a lane's process is known to exist (True where that cannot be seen from here).
        """
        self.prefetch_trials()
        for gone, why in self._roster.expire_lanes(self._standing.spec.limits.lease_s, alive):
            self._ends.fail_lane(gone.lane, why, gone)
        for request in views.open_requests(self._ledger, self._standing.sweep.id):
            self._standing.answer_request(request)
        self._budget.update(self._steady())
        self._desk.settle_paused()
        if self.state == "running" and self.is_done:
            self._budget.save()
            self._standing.conclude()
        self._commit()

    def stop(self, why: str) -> None:
        """Asks every lane to write a checkpoint and leave; running trials go back to waiting."""
        self.prefetch_trials()
        self._standing.request_stop(why)
        self._commit()

    def conclude_stop(self) -> None:
        """After a stop: what still runs goes back to waiting, and the sweep's state says so."""
        self.prefetch_trials()
        for running in list(self._attempts.running.values()):
            self._attempts.return_to_waiting(running, "stopped", self.stopping or "")
        self._standing.conclude_stop()
        self._commit()

    def hand_over(self) -> None:
        """Writes what is known here alone, for a coordinator that goes on under the same driver."""
        self.prefetch_trials()
        self._budget.update(self._steady())
        self._budget.save()
        self._commit()

    @property
    def state(self) -> str:
        """Whether it runs, or how it ended."""
        return self._standing.state

    @property
    def stopping(self) -> str | None:
        """Why it is to stop, once it is."""
        return self._standing.stopping

    @property
    def is_done(self) -> bool:
        """Whether every trial that was asked for, and every one that may be, has ended."""
        return not any(self.book.count_left(family.name) for family in self._standing.spec.families)

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
        self._standing.update_facts(lanes=lanes, claim=claim)
        self._commit()

    @property
    def running(self) -> int:
        """How many attempts are under way."""
        return len(self._attempts.running)

    @property
    def demand(self) -> dict[str, tuple[Resources, int]]:
        """For each shape that trials need, its resources and how many of them have not ended."""
        return self.needs.find_demand(self._standing.spec)

    def take_dropped_folders(self) -> list[str]:
        """Folders of models and checkpoints that nobody needs any more, once."""
        ends = self._attempts.conclusions
        dropped, ends.dropped_folders = ends.dropped_folders, []
        return dropped

    def take_lost_lanes(self) -> list[LaneHandshake]:
        """Processes that were given up and must end, once."""
        return self._roster.take_lost()

    def prefetch_trials(self) -> None:
        """Asks ahead, so that a lane never waits for a sampler. Done before anything else happens: the
        question is answered with what was finished when the trial before it started."""
        if self._desk.ask_ahead():
            self._commit()

    def _record_question(self, trial: TrialRow) -> None:
        self._attempts.batch.add_event("asked", self._clock(), {"params": trial.params}, trial)

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
            self._ledger.commit(self._standing.sweep.id, self._epoch, batch)
            batch.clear()
