"""A trial whose code ends its lane's process: the coordinator hears how, before the process is gone."""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from infra.coordinator.messages import Assignment, AttemptResult, EpochReport, HeartbeatReply, LaneWork
from infra.coordinator.run_requests import RunAnswer
from infra.lanes.settings import LaneSettings
from infra.lanes.worker import LaneLoop
from infra.spec import Budget, FamilySpec, Objective, Resources, SweepSpec
from trainers.types import Ranks


def leave(trial: Any) -> None:
    trial.report(score=0.5)
    if trial.params["how"] == "exit":
        os._exit(3)
    if trial.params["how"] == "abort":
        os.abort()
    if trial.params["how"] == "fine":
        return
    raise KeyboardInterrupt if trial.params["how"] == "interrupt" else GeneratorExit("enough")


class Line:
    """A coordinator that has one attempt to give."""

    def __init__(self, said: Connection, how: str) -> None:
        self._said, self._reports = said, 0
        asked = Assignment(
            attempt="1", role="search", family="own", number=0, ordinal=1, params={"how": how}, seed=1
        )
        self._work = [LaneWork(attempts=(asked,)), LaneWork(leave=True)]

    def next_attempts(
        self, ended: AttemptResult | None, reports: Sequence[EpochReport], limit: int = 1
    ) -> LaneWork:
        if ended is not None:
            self._tell(ended, reports)
        return self._work.pop(0) if limit else LaneWork(wait_s=0.1)

    def report_attempt_failure(
        self, ended: AttemptResult, reports: Sequence[EpochReport], limit_s: float
    ) -> None:
        self._tell(ended, reports)

    def _tell(self, ended: AttemptResult, reports: Sequence[EpochReport]) -> None:
        self._said.send((ended.reason or ended.outcome, ended.detail, self._reports + len(reports)))

    def heartbeat(self, attempt: str | None, reports: Sequence[EpochReport]) -> HeartbeatReply:
        """Nothing is asked of the lane."""
        self._reports += len(reports)
        return HeartbeatReply()

    def find_run(self, trial: Any, wanted: bool) -> RunAnswer:
        return RunAnswer(uri="")

    def record_stack_choice(self, choice: Any) -> None:
        """Not here."""


def run_lane_process(folder: Path, said: Connection, how: str) -> None:
    faulthandler.disable()  # an abort on cue is no crash of the tests
    family = FamilySpec(name="own", reference=f"{__name__}:leave", trials=1, budget=Budget(epochs=1))
    spec = SweepSpec(
        name="exits", data={"source": "none"}, families=(family,),
        objectives=(Objective(metric="val/score", direction="maximize"),),
    )  # fmt: skip
    settings = LaneSettings(
        run="r", shape="", resources=Resources(fresh_process=how == "fine"), spec=spec.to_json(),
        base=str(folder), storage=str(folder), cache=str(folder), logs=str(folder),
    )  # fmt: skip
    from concurrent.futures import ThreadPoolExecutor

    line: Any = Line(said, how)
    with ThreadPoolExecutor(1) as lane:  # as Ray Train calls it
        lane.submit(LaneLoop(settings, Ranks(), line).run_attempts).result()


@pytest.mark.parametrize(
    ("how", "reason", "said", "status"),
    [
        ("exit", "worker-died", "its process ended with status 3 (os._exit, or a library that exits)", 3),
        ("abort", "worker-died", "its process ended by os.abort", -6),
        ("interrupt", "error", "it raised KeyboardInterrupt", 0),
        ("other", "error", "it raised GeneratorExit: enough", 0),
        ("fine", "complete", "", 78),  # of which each trial has a process of its own
    ],
)
def test_end_of_a_lane_by_its_trial_is_told_with_what_it_reported(
    tmp_path: Path, how: str, reason: str, said: str, status: int
) -> None:
    told, tell = multiprocessing.Pipe(duplex=False)
    context = multiprocessing.get_context("fork")
    process = context.Process(target=run_lane_process, args=(tmp_path, tell, how))
    process.start()
    assert told.poll(60)
    found_reason, detail, reports = told.recv()
    process.join(30)
    assert (found_reason, reports, process.exitcode) == (reason, 1, status)
    assert said in detail
    assert said in next(tmp_path.glob("*0000*")).read_text()
