"""What a library's handler writes in a later trial is in that trial's log."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from infra.coordinator.messages import Assignment
from infra.lanes.settings import LaneSettings
from infra.lanes.worker import LaneLoop
from infra.spec import FamilySpec, Resources, SweepSpec
from trainers.types import Ranks


@pytest.fixture
def loop(tmp_path: Path) -> LaneLoop:
    """A lane that nobody gives work."""
    spec = SweepSpec(name="prints", families=(FamilySpec(name="own", reference="own:train"),))
    settings = LaneSettings(
        run="r", shape="", resources=Resources(), spec=spec.to_json(), base="", storage="", cache="",
        logs=str(tmp_path),
    )  # fmt: skip
    line: Any = Mock()
    return LaneLoop(settings, Ranks(), line)


def trial(number: int) -> Assignment:
    return Assignment(
        attempt=str(number), role="search", family="own", number=number, ordinal=1, params={}, seed=1
    )


def test_handler_that_one_trial_set_up_writes_to_the_log_of_the_next(loop: LaneLoop, tmp_path: Path) -> None:
    """As a library's does that is imported in the first: its stream was closed with that trial's log, and
    each line of the later ones was an error of logging's."""
    logger, handler = logging.getLogger("a.librarys.own"), None
    for number in range(2):
        with loop._redirect_output(trial(number)):
            handler = handler or logging.StreamHandler()
            logger.handlers = [handler]
            logger.warning("in trial %d", number)
            print(f"printed in {number}")
    logs = [path.read_text() for path in sorted(tmp_path.glob("own-*.log"))]
    assert logs == ["in trial 0\nprinted in 0\n", "in trial 1\nprinted in 1\n"]


def test_stream_of_a_trial_is_one_that_programs_and_bytes_can_be_written_to(
    loop: LaneLoop, tmp_path: Path
) -> None:
    with loop._redirect_output(trial(0)):
        subprocess.run([sys.executable, "-c", "print('by a program')"], stdout=sys.stdout, check=True)
        sys.stdout.buffer.write(b"by bytes\n")
        sys.stderr.flush()
        assert (sys.stdout.isatty(), sys.stdout.encoding, sys.stdout.writable()) == (False, "utf-8", True)
    (log,) = tmp_path.glob("own-*.log")
    assert log.read_text() == "by a program\nby bytes\n"
