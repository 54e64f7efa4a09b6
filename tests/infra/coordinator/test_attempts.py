"""What comes of attempts: each change of a trial's state, and what is written of it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from infra.coordinator.assigning import WorkDesk
from infra.coordinator.attempts import Attempts, RunningAttempt
from infra.coordinator.conclusions import FAILED_CHECKPOINTS, Conclusions
from infra.coordinator.messages import AttemptResult, EpochReport, LaneHandshake
from infra.coordinator.trial_table import TrialTable, stack_limit
from infra.ledger.requeue import requeue_trial
from infra.ledger.rows import EventRow, TrialRow, storable_text
from infra.spec import Budget, FamilySpec, Objective
from tests.infra.conftest import GOAL, Clock, family, hello, sweep

ASHA = {"name": "asha", "min_epochs": 2, "reduction": 2}
PAUSING = {**ASHA, "resume": True}
LATENCY = Objective(metric="ms", direction="minimize")
UP = Objective(metric=GOAL, direction="maximize")


class Studies:
    """Answers as told, and keeps what it was told."""

    def __init__(self) -> None:
        self.prunes, self.best = False, {3}  # best: epochs from which a trial may go on
        self.asked: list[int] = []
        self.reported: list[tuple[int, int, float]] = []
        self.told: list[tuple[int, str, Sequence[float] | None]] = []
        self.added: list[tuple[dict[str, Any], Sequence[float]]] = []

    def should_prune(self, family: str, number: int) -> bool:
        self.asked.append(number)
        return self.prunes

    def report(self, family: str, number: int, epoch: int, value: float) -> None:
        self.reported.append((number, epoch, value))

    def tell(self, family: str, number: int, state: str, objective: Sequence[float] | None) -> None:
        self.told.append((number, state, objective))

    def may_go_on(self, family: str, epoch: int, value: float) -> bool:
        return epoch in self.best

    def add_trial(self, family: FamilySpec, params: dict[str, Any], objective: Sequence[float]) -> int:
        self.added.append((params, objective))
        return 900


class Office:
    """Attempts over a table and a study of their own."""

    def __init__(self, pruner: dict[str, Any] | None = None, *, studies: bool = True, **changes: Any) -> None:
        asked = family(trials=9, pruner=pruner or ASHA, budget=Budget(epochs=9))
        self.spec = sweep(asked, **changes)
        self.book, self.studies = TrialTable(self.spec, ()), Studies()
        self.clock, self.steady = Clock(1_000.0), Clock(50.0)
        self.attempts = Attempts(
            self.spec, self.book, self.studies if studies else None, self.clock, self.steady  # type: ignore[arg-type]
        )  # fmt: skip

    def trial(self, number: int, **changes: Any) -> TrialRow:
        usual = {"role": "search", "family": "noop", "params": {"n": number}, "seed": 0}
        made = TrialRow(**{**usual, "number": number, "study_number": number + 100, **changes})
        self.book.add(made)
        return made

    def begin(self, number: int, lane: str = "lane-0", **changes: Any) -> RunningAttempt:
        self.attempts.start(self.trial(number, **changes), hello(lane), f"a{number}")
        return self.attempts.running[f"a{number}"]

    def again(self, trial: TrialRow, lane: str = "lane-0") -> RunningAttempt:
        taken = self.book.take_waiting(lambda one: one is trial)
        assert taken is trial
        self.attempts.start(trial, hello(lane), f"a{trial.number}-{trial.attempts + 1}")
        return self.attempts.running[f"a{trial.number}-{trial.attempts}"]

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [json.loads(str(e["payload"])) for e in self.attempts.batch.events if e["kind"] == kind]

    def report(self, running: RunningAttempt, *epochs: int, judged: int = 0, value: float = 0.5) -> bool:
        reports = [reported(epoch, value) for epoch in epochs]
        return self.attempts.record_reports(running.attempt, running.lane, reports, judged=judged)


def reported(epoch: int, value: float = 0.5, **more: float) -> EpochReport:
    return EpochReport(epoch=epoch, metrics={GOAL: value, **more}, at=float(epoch))


def ended(running: RunningAttempt, outcome: str = "complete", **changes: Any) -> AttemptResult:
    return AttemptResult(**{"attempt": running.attempt, "outcome": outcome, **changes})


def event(kind: str, **payload: Any) -> EventRow:
    return EventRow(seq=1, at=1.0, kind=kind, role="search", family="noop", number=0, payload=payload)


# -- beginning and time ------------------------------------------------------------------------------------


def test_attempt_that_begins_is_written_with_its_lane_and_the_trials_time_so_far() -> None:
    office = Office()
    trial = office.trial(3, seconds=7.0, attempts=1, started_at=900.0)
    lane = LaneHandshake(
        lane="l", shape="s", host="w", pid=5, pid_started_at=6.0, facts={"gpu": "2", "x": 1}, machine="m"
    )
    office.attempts.start(trial, lane, "a")
    assert (trial.state, trial.attempts, trial.started_at) == ("running", 2, 900.0)
    assert trial.facts["place"] == {"host": "w", "lane": "l", "gpu": "2"}
    columns = dict(office.attempts.batch.attempts["a"])
    facts = json.loads(str(columns.pop("lane_facts")))
    assert columns == {
        "role": "search", "family": "noop", "number": 3, "ordinal": 2, "lane": "l", "started_at": 1_000.0,
    }  # fmt: skip
    process = {"host": "w", "machine": "m", "pid": 5, "pid_started_at": 6.0}
    assert facts == {"gpu": "2", "x": 1, **process, "shape": "s", "seconds_before": 7.0}
    assert office.told("started") == [{"attempt": "a", "ordinal": 2, "lane": "l"}]
    assert office.attempts.running["a"].seconds_before == 7.0
    assert office.attempts.family_of("a") == "noop"


def test_trial_begins_when_its_first_attempt_does() -> None:
    office = Office()
    running = office.begin(0)
    assert (running.trial.started_at, running.trial.attempts) == (1_000.0, 1)


def test_time_of_a_lane_is_shared_by_what_runs_on_it() -> None:
    office = Office()
    first = office.begin(0)
    elsewhere = office.begin(9, "lane-1")
    office.steady.now += 10
    second = office.begin(1)  # alone until now
    office.steady.now += 4
    office.attempts.save_seconds()
    assert [one.trial.seconds for one in (first, second, elsewhere)] == [12.0, 2.0, 14.0]
    assert set(office.attempts.batch.trials) >= {one.trial.key for one in (first, second, elsewhere)}
    office.steady.now -= 3  # another machine's clock may tell less: no time comes back
    office.attempts.save_seconds()
    assert [one.trial.seconds for one in (first, second)] == [12.0, 2.0]
    office.steady.now += 6
    office.attempts.return_to_waiting(second, "stopped", "")
    office.steady.now += 6
    office.attempts.save_seconds()
    assert [one.trial.seconds for one in (first, second)] == [12.0 + 3.0 + 6.0, 2.0 + 3.0]


@pytest.mark.parametrize(("lanes_own", "seconds"), [(3.0, 20.0), (50.0, 10.0 + 50.0)])
def test_seconds_of_an_ended_trial_are_the_longer_of_ours_and_its_lanes(
    lanes_own: float, seconds: float
) -> None:
    """The lane's own count has what passed while nobody coordinated."""
    office = Office()
    running = office.begin(0, seconds=10.0)
    office.steady.now += 10
    office.attempts.end_attempt(ended(running, objective=(0.5,), seconds=lanes_own), "lane-0")
    assert running.trial.seconds == seconds


# -- reports -----------------------------------------------------------------------------------------------


def test_report_is_taken_once_from_the_attempts_own_lane() -> None:
    office = Office({"name": "none"})
    running = office.begin(0)
    assert not office.attempts.record_reports("a0", "lane-9", [reported(1)])
    assert not office.attempts.record_reports("unknown", "lane-0", [reported(1)])
    assert office.told("reported") == []
    assert office.report(running, 1)
    assert office.report(running, 1, 3, value=0.9)
    assert office.report(running, 2)
    assert running.trial.epochs == 3
    assert running.reports == {1: {GOAL: 0.5}, 3: {GOAL: 0.9}, 2: {GOAL: 0.5}}
    assert office.told("reported") == [{"epoch": e, "metrics": running.reports[e]} for e in (1, 3, 2)]
    assert [one["at"] for one in office.attempts.batch.events if one["kind"] == "reported"] == [1.0, 3.0, 2.0]
    assert office.studies.reported == [(100, 1, 0.5), (100, 3, 0.9), (100, 2, 0.5)]


def test_number_that_is_not_finite_is_not_kept_of_a_report() -> None:
    office = Office()
    running = office.begin(0)
    office.attempts.record_reports("a0", "lane-0", [reported(1, math.nan, loss=2.0)])
    assert running.reports == {1: {"loss": 2.0}}
    assert office.studies.reported == []


def test_trial_that_no_study_knows_is_not_reported_to_one() -> None:
    for office, number in ((Office(), None), (Office(studies=False), 100)):
        office.report(office.begin(0, study_number=number), 1, 2)
        assert office.studies.reported == []
        assert len(office.told("reported")) == 2


@pytest.mark.parametrize(
    ("before", "epoch", "late"),
    [((), 1, False), ((), 2, True), ((1,), 2, True), ((1, 2), 3, False), ((1,), 3, True), ((2,), 4, True),
     ((3,), 8, True), ((4,), 7, False), ((8,), 9, False)],
)  # fmt: skip
def test_report_at_or_past_a_rung_waits_for_its_question(
    before: tuple[int, ...], epoch: int, late: bool
) -> None:
    """Rungs are 2, 4 and 8."""
    office = Office()
    running = office.begin(0)
    office.report(running, *before)
    office.report(running, epoch)
    assert running.unjudged.get(epoch) == (True if late else None)
    assert ("judged" in office.told("reported")[-1]) is late
    assert office.told("reported")[-1].get("judged", True) is not late


def test_first_report_that_a_heartbeat_brings_waits_for_its_question() -> None:
    office = Office({"name": "asha", "min_epochs": 1, "reduction": 3})
    running = office.begin(0)
    office.attempts.record_reports("a0", "lane-0", [reported(1)])
    assert running.unjudged == {1: True}


def test_report_that_comes_with_its_question_needs_no_note() -> None:
    office = Office()
    running = office.begin(0)
    office.report(running, 1, 2, judged=2)
    assert running.unjudged == {2: False}
    assert [sorted(one) for one in office.told("reported")] == [["epoch", "metrics"]] * 2


def test_confirmation_asks_no_pruner() -> None:
    office = Office(studies=False)
    running = office.begin(0)
    office.report(running, 1, 2)
    assert running.unjudged == {}
    office.report(running, 4, judged=4)
    assert not office.attempts.try_prune("a0", 4)


def test_next_attempt_knows_the_reports_of_the_former_and_what_is_still_to_be_asked() -> None:
    office = Office()
    trial = office.begin(0).trial
    office.report(office.attempts.running["a0"], 1, 2)
    office.attempts.return_to_waiting(office.attempts.running["a0"], "stopped", "")
    running = office.again(trial)
    assert (running.reports, running.unjudged) == ({1: {GOAL: 0.5}, 2: {GOAL: 0.5}}, {2: True})
    assert office.attempts.reports == {}
    other = office.begin(1)
    assert (other.reports, other.unjudged) == ({}, {})


def test_coordinator_that_takes_over_knows_what_was_reported_and_what_the_pruner_was_asked() -> None:
    office = Office()
    trial = office.trial(0, state="running", attempts=1)
    told = [
        event("asked", epoch=9),
        event("reported", epoch=1, metrics={GOAL: 0.1}),
        event("reported", epoch=2, metrics={GOAL: 0.2}, judged=False),
        event("judged", epoch=2),
        event("reported", epoch=4, metrics={GOAL: 0.4}, judged=False),
        event("reported", epoch=8, metrics={GOAL: 0.8}),
    ]
    office.attempts.remember_reports(trial.key, told)
    office.attempts.adopt(RunningAttempt("a0", trial, "lane-0"))
    running = office.attempts.running["a0"]
    assert running.reports == {1: {GOAL: 0.1}, 2: {GOAL: 0.2}, 4: {GOAL: 0.4}, 8: {GOAL: 0.8}}
    assert running.unjudged == {4: True}
    for epoch, asked in ((2, []), (8, []), (4, [100])):
        office.attempts.try_prune("a0", epoch)
        assert office.studies.asked == asked
    assert office.told("judged") == [{"epoch": 4}]


# -- the pruner --------------------------------------------------------------------------------------------


def test_pruner_is_asked_once_about_a_report() -> None:
    office = Office()
    running = office.begin(0)
    office.report(running, 1, 2, judged=2)
    assert not office.attempts.try_prune("a0", 1)
    assert office.studies.asked == []
    assert not office.attempts.try_prune("a0", 2)
    office.studies.prunes = True
    assert not office.attempts.try_prune("a0", 2)
    assert office.studies.asked == [100]
    assert office.told("judged") == []
    assert running.trial.state == "running"


@pytest.mark.parametrize("case", ["no value", "no number"])
def test_pruner_is_not_asked_about_what_it_cannot_know(case: str) -> None:
    office = Office()
    office.studies.prunes = True
    office.begin(0, study_number=None if case == "no number" else 100)
    report = reported(2, math.nan if case == "no value" else 0.5)
    office.attempts.record_reports("a0", "lane-0", [report], judged=2)
    assert not office.attempts.try_prune("a0", 2)
    assert office.studies.asked == []


def test_pruned_trial_ends_at_once_with_its_best_report_and_what_its_lane_measured_comes_later() -> None:
    office = Office()
    running = office.begin(0)
    office.report(running, 1, value=0.7)
    office.report(running, 2, judged=2)
    office.studies.prunes = True
    assert office.attempts.try_prune("a0", 2)
    trial = running.trial
    assert (trial.state, trial.objective, trial.epoch, trial.metrics) == ("pruned", [0.7], 1, {GOAL: 0.7})
    assert office.studies.told == [(100, "pruned", [0.7])]
    assert office.attempts.running == {}
    assert office.attempts.family_of("a0") == "noop"
    office.attempts.batch.trials.clear()
    late = ended(running, "pruned", facts={"size": 3}, seconds=99.0)
    office.attempts.end_attempt(late, "lane-9")
    assert "size" not in trial.facts
    office.attempts.end_attempt(late, "lane-0")
    assert (trial.facts["size"], trial.seconds) == (3, 0.0)
    assert office.attempts.batch.trials == {trial.key: trial}
    office.attempts.end_attempt(replace(late, facts={"size": 4}), "lane-0")  # sent again
    assert trial.facts["size"] == 3
    assert len(office.told("ended")) == 1


def test_lane_that_is_forgotten_says_nothing_more_of_what_was_pruned_there() -> None:
    office = Office()
    office.studies.prunes = True
    pruned = [office.begin(number, f"lane-{number}") for number in (0, 1)]
    for running in pruned:
        office.report(running, 2, judged=2)
        assert office.attempts.try_prune(running.attempt, 2)
    office.attempts.forget_lane("lane-0")
    for running in pruned:
        office.attempts.end_attempt(ended(running, "pruned", facts={"size": 3}), running.lane)
    assert ["size" in running.trial.facts for running in pruned] == [False, True]


def test_trial_of_a_pausing_pruner_waits_at_its_rung_and_is_told_so_again() -> None:
    office = Office(PAUSING)
    running = office.begin(0, origin={"number": 5})
    office.report(running, 2, judged=2)
    office.studies.prunes = True
    office.attempts.batch.trials.clear()
    assert office.attempts.try_prune("a0", 2)
    assert running.trial.origin == {"number": 5, "paused_at": 2}
    assert office.attempts.batch.trials == {running.trial.key: running.trial}
    assert running.trial.state == "running"
    assert office.attempts.try_prune("a0", 2)
    assert office.studies.asked == [100]
    office.attempts.end_attempt(ended(running, "stopped"), "lane-0")
    assert running.trial.state == "waiting"
    assert [trial.number for trial in office.book.paused_trials()] == [0]
    assert office.told("waiting") == [{"why": "paused"}]


def pause(office: Office, number: int, epoch: int, value: float = 0.5) -> TrialRow:
    running = office.begin(number, origin={"number": 5})
    office.studies.prunes = True
    office.report(running, epoch, judged=epoch, value=value)
    assert office.attempts.try_prune(running.attempt, epoch)
    office.attempts.end_attempt(ended(running, "stopped"), "lane-0")
    return running.trial


@pytest.mark.parametrize(
    ("quota", "moves", "ending", "end"),
    [(2, False, False, True), (3, False, False, False), (2, True, False, False), (2, False, True, False)],
    ids=["nothing comes", "one may be asked for", "one runs", "the sweep ends"],
)
def test_paused_trials_end_only_where_nothing_more_comes(
    quota: int, moves: bool, ending: bool, end: bool
) -> None:
    office = Office(PAUSING)
    paused = [pause(office, number, 4) for number in range(1 if moves else 2)]
    if moves:
        office.begin(1)
    office.studies.best = set()
    office.book.set_quota("noop", quota)
    standing: Any = SimpleNamespace(is_ending=ending)
    WorkDesk(standing, office.book, office.attempts, *[None] * 4).settle_paused()  # type: ignore[arg-type]
    assert [trial.state == "pruned" for trial in paused] == [end] * len(paused)


def test_first_paused_trial_that_fits_and_is_among_the_best_gets_in_line() -> None:
    office = Office(PAUSING)
    trials = {number: pause(office, number, epoch) for number, epoch in ((0, 2), (1, 8), (2, 4), (3, 4))}
    office.studies.best = {4}
    office.attempts.paused.resume_one(lambda trial: trial.number not in (2,))
    assert office.book.take_waiting(lambda _: True) is trials[3]
    assert trials[3].origin == {"number": 5, "paused_at": None}
    assert [trial.number for trial in office.book.paused_trials()] == [1, 2, 0]
    assert len(office.told("resumed")) == 1
    office.attempts.paused.resume_one(lambda trial: True)
    assert office.book.take_waiting(lambda _: True) is trials[2]
    office.attempts.paused.resume_one(lambda trial: True)
    assert office.book.take_waiting(lambda _: True) is None


def test_paused_trials_to_which_nothing_more_comes_are_pruned_with_their_best() -> None:
    office = Office(PAUSING)
    running = office.begin(0, origin={"number": 5})
    office.report(running, 1, value=0.9)
    office.studies.prunes = True
    office.report(running, 2, judged=2)
    office.attempts.try_prune("a0", 2)
    office.attempts.end_attempt(ended(running, "stopped"), "lane-0")
    other = pause(office, 1, 4, value=0.2)
    office.studies.best = {4}
    office.attempts.paused.end_all("noop")  # one of them may go on yet
    assert office.studies.told == []
    office.studies.best = set()
    office.attempts.paused.end_all("elsewhere")
    assert office.studies.told == []
    office.attempts.paused.end_all("noop")
    trial = running.trial
    assert (trial.state, trial.objective, trial.epoch, trial.metrics) == ("pruned", [0.9], 1, {GOAL: 0.9})
    assert (trial.origin, other.origin) == ({"number": 5, "paused_at": None},) * 2
    assert (other.objective, other.epoch) == ([0.2], 4)
    assert office.book.paused_trials() == []
    assert office.studies.told == [(101, "pruned", [0.2]), (100, "pruned", [0.9])]
    assert sorted(office.attempts.conclusions.dropped_folders) == [
        f"try/noop/search-{number:04d}/checkpoints" for number in (0, 1)
    ]


@pytest.mark.parametrize("case", ["no value at its rung", "no study"])
def test_paused_trial_of_which_nobody_can_judge_goes_on(case: str) -> None:
    office = Office(PAUSING, studies=case != "no study")
    trial = office.trial(0, attempts=1, epochs=2, origin={"paused_at": 2})
    office.book.queue(trial)
    metrics = {"other": 1.0} if case == "no value at its rung" else {GOAL: 0.5}
    office.attempts.remember_reports(trial.key, [event("reported", epoch=2, metrics=metrics)])
    office.studies.best = set()
    office.attempts.paused.resume_one(lambda _: True)
    assert office.book.take_waiting(lambda _: True) is trial


# -- ends --------------------------------------------------------------------------------------------------


def test_complete_trial_has_what_its_lane_says() -> None:
    office = Office()
    running = office.begin(0, facts={"a": 1})
    office.report(running, 1, 2, value=0.9)
    office.clock.now = 1_010.0
    told = ended(running, objective=(0.5,), epoch=2, metrics={"m": 1.0}, facts={"b": 2}, model="folder")
    office.attempts.end_attempt(told, "lane-0")
    trial = running.trial
    assert (trial.state, trial.objective, trial.epoch, trial.metrics) == ("complete", [0.5], 2, {"m": 1.0})
    assert (trial.model, trial.ended_at, trial.reason) == ("folder", 1_010.0, None)
    assert (trial.facts["a"], trial.facts["b"]) == (1, 2)
    assert office.told("ended") == [{"state": "complete", "objective": [0.5], "reason": None}]
    assert office.told("attempt-ended") == [{"attempt": "a0", "outcome": "complete", "detail": ""}]
    columns = office.attempts.batch.attempts["a0"]
    assert (columns["ended_at"], columns["outcome"], columns["detail"]) == (1_010.0, "complete", "")
    assert office.studies.told == [(100, "complete", [0.5])]
    assert office.attempts.running == {}
    office.attempts.end_attempt(told, "lane-0")  # sent again
    assert len(office.told("ended")) == 1


def test_end_of_an_attempt_that_another_lane_tells_of_changes_nothing() -> None:
    office = Office()
    running = office.begin(0)
    office.attempts.end_attempt(ended(running, objective=(0.5,)), "lane-9")
    assert running.trial.state == "running"
    assert office.attempts.on_lane("lane-0") == [running]
    assert office.attempts.on_lane("lane-9") == []


@pytest.mark.parametrize(
    ("objectives", "objective", "words"),
    [
        ((UP,), (), "no value"),
        ((UP,), (math.nan,), "nan"),
        ((UP,), (0.5, 1.0), "0.5, 1.0"),
        ((UP, LATENCY), (0.5, math.inf), "0.5, inf"),
        ((UP,), (True,), "True"),
        ((UP,), (10**400,), "1000"),
        ((UP,), ("0.5",), "'0.5'"),
    ],
)
def test_complete_trial_without_a_finite_number_for_each_goal_has_failed(
    objectives: tuple[Objective, ...], objective: tuple[Any, ...], words: str
) -> None:
    office = Office(objectives=objectives)
    running = office.begin(0)
    office.attempts.end_attempt(ended(running, objective=objective), "lane-0")
    assert running.trial.state == "failed"
    assert str(running.trial.reason).startswith("not-finite: the objective must be a finite number, but got")
    assert words in str(running.trial.reason)
    assert len(office.told("ended")) == 1


@pytest.mark.parametrize("objective", [(0.5, 2.0), (1, 2)])
def test_complete_trial_of_several_goals_has_a_number_for_each(objective: tuple[float, ...]) -> None:
    office = Office(objectives=(UP, LATENCY))
    running = office.begin(0)
    office.attempts.end_attempt(ended(running, objective=objective, epoch=1), "lane-0")
    assert (running.trial.state, running.trial.objective) == ("complete", list(objective))


def test_trial_that_its_lane_calls_pruned_needs_no_value() -> None:
    office = Office()
    running = office.begin(0)
    office.attempts.end_attempt(ended(running, "pruned"), "lane-0")
    assert (running.trial.state, running.trial.objective, running.trial.metrics) == ("pruned", None, {})
    other = office.begin(1)
    office.report(other, 3, value=0.8)
    office.attempts.end_attempt(ended(other, "pruned", metrics={"m": 1.0}), "lane-0")
    assert (other.trial.objective, other.trial.epoch, other.trial.metrics) == ([0.8], 3, {"m": 1.0})


def test_stopped_attempt_leaves_its_trial_in_line_uncharged() -> None:
    office = Office()
    for number, words in ((0, {}), (1, {"stopped": "node-left"})):
        running = office.begin(number)
        office.attempts.end_attempt(ended(running, "stopped"), "lane-0", **words)
        assert (running.trial.state, running.trial.failures, running.trial.ended_at) == ("waiting", 0, None)
        assert office.book.take_waiting(lambda _: True) is running.trial
    assert [one["outcome"] for one in office.told("attempt-ended")] == ["stopped", "node-left"]
    assert office.told("waiting") == [{"why": "stopped"}, {"why": "node-left"}]
    assert office.studies.told == []


@pytest.mark.parametrize(
    ("detail", "reason"),
    [("boom\nmore", "error: boom"), ("\n  boom\nmore", "error: boom"), ("", "error"), (" \n ", "error"),
     ("a\0b", "error: a\\0b")],
)  # fmt: skip
def test_failed_trial_says_its_kind_and_the_first_line(detail: str, reason: str) -> None:
    office = Office()
    running = office.begin(0)
    office.report(running, 1, value=0.7)
    office.attempts.end_attempt(ended(running, "failed", reason="error", detail=detail), "lane-0")
    trial = running.trial
    assert (trial.state, trial.failures, trial.reason) == ("failed", 1, reason)
    assert (trial.objective, trial.epoch) == ([0.7], 1)
    assert office.told("ended")[0]["reason"] == reason
    assert office.studies.told == [(100, "failed", [0.7])]


def test_failed_trial_that_reported_nothing_has_no_value() -> None:
    office = Office()
    running = office.begin(0)
    office.attempts.fail_attempt(running, "error", "x")
    assert (running.trial.objective, running.trial.epoch, running.trial.state) == (None, 0, "failed")


def test_failure_that_may_be_the_machines_is_tried_again_and_charged() -> None:
    office = Office()
    trial = office.begin(0).trial
    states = []
    for _ in range(3):
        (running,) = office.attempts.running.values()
        office.attempts.fail_attempt(running, "worker-died", "gone")
        states.append((trial.state, trial.failures))
        if trial.state == "waiting":
            office.again(trial)
    assert states == [("waiting", 1), ("waiting", 2), ("failed", 3)]
    assert [one["outcome"] for one in office.told("attempt-ended")] == ["worker-died"] * 3


@pytest.mark.parametrize(("killed", "state"), [(False, "failed"), (True, "waiting")])
def test_process_that_was_ended_for_memory_is_tried_again(killed: bool, state: str) -> None:
    office = Office()
    running = office.begin(0)
    if killed:
        office.attempts.fail_attempt(running, "out-of-memory", "x", killed=True)
    else:
        office.attempts.fail_attempt(running, "out-of-memory", "x")
    assert running.trial.state == state


def test_family_whose_first_trials_all_failed_is_said_to_get_no_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    office = Office()
    for number in range(5):
        assert "no more trials" not in caplog.text
        office.attempts.fail_attempt(office.begin(number), "error", "x")
    assert "noop gets no more trials" in caplog.text


@pytest.mark.parametrize(("members", "limit"), [(2, 1), (3, 1), (4, 2), (5, 2), (9, 4)])
def test_members_of_a_stack_that_ended_its_lane_go_on_in_half_as_large_ones(members: int, limit: int) -> None:
    office = Office()
    together = [office.begin(number, origin={"number": 5}) for number in range(members)]
    assert {stack_limit(one.trial) for one in together} == {math.inf}
    office.attempts.break_stack(together, "worker-died", "gone\0")
    assert {stack_limit(one.trial) for one in together} == {limit}
    assert all(one.trial.origin == {"number": 5, "stack_limit": limit} for one in together)
    assert {(one.trial.state, one.trial.failures) for one in together} == {("waiting", 0)}
    assert office.told("attempt-ended")[0]["detail"] == "gone\\0"


def test_stack_of_one_is_never_smaller() -> None:
    office = Office()
    (alone,) = [office.begin(0)]
    office.attempts.break_stack([alone], "worker-died", "gone")
    assert stack_limit(alone.trial) == 1


def test_long_error_is_cut_where_it_is_written() -> None:
    office = Office()
    running = office.begin(0)
    office.attempts.return_to_waiting(running, "error", "x" * 30_000)
    assert len(str(office.attempts.batch.attempts["a0"]["detail"])) == 20_000
    assert len(office.told("attempt-ended")[0]["detail"]) == 2_000


@pytest.mark.parametrize(("now", "ended_at"), [(1_005.0, 1_005.0), (990.0, 1_000.0)])
def test_trial_never_ends_before_it_began(now: float, ended_at: float) -> None:
    office = Office()
    running = office.begin(0)
    office.clock.now = now
    office.attempts.end_attempt(ended(running, objective=(0.5,)), "lane-0")
    assert running.trial.ended_at == ended_at


def test_failure_that_was_tried_again_is_a_new_trial_for_its_study_when_it_succeeds() -> None:
    office = Office()
    running = office.begin(0, study_number=None)
    office.attempts.end_attempt(ended(running, objective=(0.5,)), "lane-0")
    assert office.studies.added == [({"n": 0}, [0.5])]
    assert running.trial.study_number == 900
    for number, outcome in ((1, "failed"), (2, "pruned")):
        other = office.begin(number, study_number=None)
        office.report(other, 1)
        office.attempts.end_attempt(ended(other, outcome, reason="error", detail="x"), "lane-0")
        assert other.trial.study_number is None
    assert (len(office.studies.added), office.studies.told) == (1, [])


def test_confirmation_ends_without_a_study() -> None:
    office = Office(studies=False)
    running = office.begin(0, role="confirm", study_number=None)
    office.attempts.end_attempt(ended(running, objective=(0.5,), model="m"), "lane-0")
    assert (running.trial.state, running.trial.model) == ("complete", "m")
    assert office.attempts.conclusions.dropped_folders == []


def test_model_that_a_better_one_beats_is_dropped_and_written_so() -> None:
    office = Office()
    trials = []
    for number, value in enumerate((0.5, 0.8, 0.6)):
        running = office.begin(number)
        trials.append(running.trial)
        office.attempts.end_attempt(ended(running, objective=(value,), model=f"m{number}"), "lane-0")
    assert [trial.model for trial in trials] == [None, "m1", None]
    assert office.attempts.conclusions.dropped_folders == ["m0", "m2"]
    assert office.book.trials_with_model("noop") == [trials[1]]
    assert {trial.key for trial in trials} <= set(office.attempts.batch.trials)


def test_only_the_newest_failed_trials_keep_their_checkpoints() -> None:
    """Each may hold gigabytes; one that is tried again meanwhile keeps its own."""
    office = Office()
    total = FAILED_CHECKPOINTS + 6
    running = [office.begin(number, created_at=float(number)) for number in range(total)]

    def fail(number: int) -> None:
        office.attempts.end_attempt(ended(running[number], "failed", reason="error", detail="x"), "lane-0")

    def dropped() -> list[int]:
        found = [re.fullmatch(r"try/noop/search-(\d+)/checkpoints", f) for f in ends.dropped_folders]
        return [int(match[1]) for match in found if match]

    ends = office.attempts.conclusions
    for number in range(FAILED_CHECKPOINTS + 2):
        fail(number)
    assert dropped() == [0, 1]
    requeue_trial(running[2].trial, None)
    fail(FAILED_CHECKPOINTS + 2)
    assert dropped() == [0, 1]
    fail(FAILED_CHECKPOINTS + 3)
    assert dropped() == [0, 1, 3]
    again = Conclusions(office.spec, office.book, None, office.attempts.batch, lambda: 9.0)
    again.conclude(running[total - 2].trial, "failed")
    assert again.dropped_folders == ["try/noop/search-0004/checkpoints"]


def test_models_of_confirmations_are_all_kept() -> None:
    office = Office(studies=False)
    for number, value in enumerate((0.5, 0.8)):
        running = office.begin(number, role="confirm")
        office.attempts.end_attempt(ended(running, objective=(value,), model=f"m{number}"), "lane-0")
    assert office.attempts.conclusions.dropped_folders == []


def test_text_that_no_database_takes_is_escaped() -> None:
    assert storable_text("a\0b\udcff ü") == "a\\0b\\udcff ü"
