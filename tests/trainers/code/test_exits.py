"""A function that ends its process is the user's error, in words that say how."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from trainers.code.exits import note_exits, refuse_exits
from trainers.errors import InputError, TrialError
from trainers.functions.tracing import trace_objective
from trainers.functions.trial import Trial
from trainers.try_out import try_out


class Stop(BaseException):
    """What no `except Exception` takes."""


def fork_a_child() -> None:
    child = os.fork()
    if child == 0:
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def raise_stop() -> None:
    raise Stop("enough")


LEAVING = [
    (lambda: os._exit(3), r"with status 3 \(os\._exit"),
    (lambda: os.abort(), r"by os\.abort"),
    (raise_stop, r"it raised Stop: enough"),
]


@pytest.mark.parametrize(("leave", "said"), LEAVING)
def test_function_that_is_tried_and_ends_its_process_is_refused_in_words(
    leave: Callable[[], None], said: str
) -> None:
    def train(trial: Trial) -> None:
        trial.report(score=1.0)
        leave()

    before = (os._exit, os.abort)
    with pytest.raises(TrialError, match=said):
        try_out(train, show=len)
    assert (os._exit, os.abort) == before


def test_child_of_a_function_ends_as_it_does() -> None:
    told: list[str] = []
    with note_exits(told.append):
        fork_a_child()
    assert told == []


@pytest.mark.parametrize("leave", [lambda: os._exit(0), lambda: exit(0), lambda: exit("no data")])
def test_objective_that_leaves_while_it_is_traced_is_refused(leave: Callable[[], None]) -> None:
    def objective(trial: Trial) -> None:
        trial.suggest_float("rate", 0.0, 1.0)
        leave()

    with pytest.raises(InputError, match="must run to its first report"):
        trace_objective(objective)


def test_code_that_is_looked_after_within_such_code_leaves_the_outer_watch() -> None:
    """A module that is imported in a trial: what the trial does afterwards is told still."""
    told: list[str] = []
    with refuse_exits():
        watched = os._exit
        with note_exits(told.append):
            assert os._exit is not watched
        assert os._exit is watched
