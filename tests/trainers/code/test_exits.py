"""A function that ends its process is the user's error, in words that say how."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

import pandas as pd
import pytest
import torch

from trainers.bundle.predictor import FunctionRunner
from trainers.code.exits import blame_code, keep_process, note_exits, refuse_exits
from trainers.errors import InputError, TrialError
from trainers.families.mlp import MLP
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


LEFT = [
    *LEAVING,
    (lambda: exit("no weights"), r"sys\.exit\('no weights'\)"),
    (lambda: exit(0), r"sys\.exit\(0\)"),
]


def interrupt() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(("leave", "said"), [*LEFT, (interrupt, "it raised KeyboardInterrupt")])
def test_own_code_in_the_process_of_a_command_cannot_end_it(leave: Callable[[], None], said: str) -> None:
    """As `plan` runs a family of people's own: it ended with status 0 where the family did."""
    before = (os._exit, os.abort, signal.getsignal(signal.SIGINT))
    with (
        pytest.raises(InputError, match=f"must return, or raise an exception; but got .*{said}"),
        keep_process(),
    ):
        leave()
    assert (os._exit, os.abort, signal.getsignal(signal.SIGINT)) == before


@pytest.mark.parametrize("guard", [keep_process, partial(blame_code, "it must answer")])
def test_signal_while_own_code_runs_is_no_error_of_the_code(guard: Callable[[], Any]) -> None:
    """A command's SIGTERM raises what is no `Exception`, wherever it comes."""

    def unwind(*_: object) -> NoReturn:
        raise Stop

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    signal.signal(signal.SIGTERM, unwind)
    try:
        with pytest.raises(KeyboardInterrupt), guard():
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(Stop), guard():
            signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is unwind
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Leaving(MLP):
    """A family of people's own that has no weights to begin with."""

    def build(self, *_: object, **__: object) -> NoReturn:
        """Leaves."""
        sys.exit("no weights")


def test_family_that_is_tried_and_ends_its_process_is_refused_in_words() -> None:
    with pytest.raises(InputError, match=r"sys\.exit\('no weights'\)"):
        try_out(Leaving, data="builtin:diabetes", show=len)


@pytest.mark.parametrize(
    ("leave", "said"),
    [(lambda: exit(3), r"sys\.exit\(3\)"), (raise_stop, "Stop: enough"), (lambda: 1 / 0, "Zero")],
)
def test_predict_that_leaves_is_the_models_own_error(leave: Callable[[], None], said: str) -> None:
    """It is asked in a server's threads too, where nobody else may be patched or ended."""
    runner = FunctionRunner("nets:predict", lambda *_: leave(), torch.nn.Identity())
    with pytest.raises(InputError, match=f"nets:predict must answer these rows; but got .*{said}"):
        runner(pd.DataFrame({"x": [1.0]}))
