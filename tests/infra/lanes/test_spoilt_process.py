"""A lane whose process is spoilt says so and ends, so that another takes its place."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any, NoReturn
from unittest.mock import MagicMock

import pytest

from infra.coordinator.messages import Assignment, AttemptResult
from infra.coordinator.process_faults import ProcessFault
from infra.lanes import worker
from infra.lanes.lane_output import LaneOutput
from infra.lanes.worker import LaneLoop
from trainers.types import Ranks

ASKED = Assignment(attempt="1", role="search", family="noop", number=0, ordinal=1, params={}, seed=1)


class ProcessEnded(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A lane without Ray, and without what trains."""

    def end_process(status: int, why: str) -> NoReturn:
        raise ProcessEnded(why)

    monkeypatch.setattr(worker, "end_process", end_process)
    made = LaneLoop.__new__(LaneLoop)
    made._ranks, made._line, made._watch, made._output = Ranks(), MagicMock(), MagicMock(), LaneOutput()
    made._runner, made._settings = MagicMock(), MagicMock(logs=str(tmp_path / "logs"))
    made._runner.jobs.checkpoint_folder.return_value = tmp_path / "checkpoints"
    made._runner.spec.keep_checkpoints = 1
    return made


@pytest.mark.parametrize("fault", [None, *ProcessFault])
def test_lane_ends_after_an_attempt_that_shows_its_process_to_be_spoilt(
    loop: Any, fault: ProcessFault | None
) -> None:
    ended = AttemptResult(attempt="1", outcome="failed", reason="error", detail="boom", fault=fault)
    loop._runner.run.return_value = ended
    if fault is None:
        assert loop._run_attempt(ASKED) == (ended, [])
        return
    with pytest.raises(ProcessEnded, match=fault.words):
        loop._run_attempt(ASKED)
    (said, *_), _ = loop._line.report_attempt_failure.call_args
    assert said == ended


@pytest.mark.parametrize("spoils", [False, True])
def test_lane_ends_where_its_stack_met_what_spoils_the_process(loop: Any, spoils: bool) -> None:
    error = OSError(errno.ENOSPC, "No space left on device") if spoils else ValueError("ours")
    stack = MagicMock()
    stack.run.side_effect, stack.hooks.first.assignment = error, ASKED
    with pytest.raises(ProcessEnded if spoils else ValueError):
        loop._run_members(stack, [ASKED])
    assert loop._line.report_attempt_failure.called == spoils
