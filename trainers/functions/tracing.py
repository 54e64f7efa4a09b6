"""The space of an Optuna objective: what it asks for, run by run, and which choices lead it there."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, NoReturn

from trainers.code.exits import ProcessExit, refuse_exits
from trainers.code.mlflow_calls import discard_mlflow_calls
from trainers.errors import InputError, describe_error
from trainers.functions.isolation import isolate_process
from trainers.functions.optuna_names import FormerNames
from trainers.types import Document, Json

_QUIET_S = 20.0  # an objective that asks for nothing for so long is training
_MOST_RUNS = 128
_MOST_VALUES = 16  # of a parameter, to be tried one by one


class _Asked(BaseException):
    """Ends an objective that has asked for all; no `except Exception` of its own may swallow it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Traced:
    """What one run asked for, in order: definitions and the values that it was given, and how many numbers it
    returned, where it came so far."""

    asked: Mapping[str, Document]
    values: Mapping[str, Json]
    returned: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TracedObjective:
    """What an objective asks for, each parameter with its `when`, in the order of asking; and how many
    numbers it is judged by."""

    space: dict[str, Document]
    goals: int


class TracingTrial(FormerNames):
    """A trial that notes what is asked, answers with what is chosen, and ends at the first report."""

    number, attempt, rank, world_size, seed, device = 0, 1, 0, 1, 0, "cpu"

    def __init__(self, chosen: Mapping[str, Json], directory: Path) -> None:
        """`chosen`: answers by name; the rest gets its first choice or its low end."""
        self.params: dict[str, Json] = {}
        self.directory = directory
        self.user_attrs: dict[str, Json] = {}
        self.datetime_start = datetime.now()
        self.asked: dict[str, Document] = {}
        self._chosen = chosen

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """The low end."""
        return float(self._answer(name, _range("float", low, high, step, log), low))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """The low end."""
        return int(self._answer(name, _range("int", low, high, None if step == 1 else step, log), low))

    def suggest_categorical(self, name: str, choices: Sequence[Json]) -> Json:
        """The first choice."""
        plain = [list(choice) if isinstance(choice, tuple) else choice for choice in choices]
        given = self._answer(name, {"type": "categorical", "choices": plain}, plain[0])
        return choices[plain.index(given)]

    def report(self, *values: object, **named: object) -> NoReturn:
        """All is asked."""
        raise _Asked

    should_prune = over = epochs = report

    def set_user_attr(self, key: str, value: Json) -> None:
        """Kept for this run alone."""
        self.user_attrs[key] = value

    def _answer(self, name: str, definition: Document, default: Json) -> Any:
        former = self.asked.setdefault(name, definition)
        if former != definition:
            raise InputError(f"{name} must be asked for in one way", f"{former} and {definition}")
        _restart_clock()
        self.params[name] = self._chosen.get(name, default)
        return self.params[name]


def trace_objective(objective: Callable[..., object]) -> TracedObjective:
    """The space that an objective asks for.

    The objective is run until its first report, again for each value of what may branch: choices, and whole
    numbers of few values.

    Raises:
        InputError: it asks for nothing, raises, or what it asks for follows from no single choice.
    """
    runs: list[_Traced] = []
    waiting: list[dict[str, Json]] = [{}]
    tried: list[tuple[str, Json]] = []
    while waiting:
        if len(runs) == _MOST_RUNS:
            do = "write the space by hand"
            raise InputError("an objective must branch by few choices", f"more than {_MOST_RUNS}", do)
        traced = _run_once(objective, waiting.pop(0))
        runs.append(traced)
        for name, definition in traced.asked.items():
            for value in _values_of(definition):
                if value != traced.values[name] and (name, value) not in tried:
                    tried.append((name, value))
                    waiting.append({**traced.values, name: value})
            tried.append((name, traced.values[name]))
    return TracedObjective(space=_join_runs(runs), goals=max(run.returned or 1 for run in runs))


def _run_once(objective: Callable[..., object], chosen: Mapping[str, Json]) -> _Traced:
    with TemporaryDirectory() as folder, discard_mlflow_calls(), isolate_process(), refuse_exits(), _clock():
        trial, returned = TracingTrial(chosen, Path(folder)), None
        try:
            found = objective(trial)
            returned = len(found) if isinstance(found, (tuple, list)) else 1
        except _Asked:
            pass
        except InputError:
            raise
        except (Exception, SystemExit, ProcessExit) as error:  # people's code may raise anything
            said = describe_error(error, 300)
            do = "correct it, or write the space by hand"
            raise InputError("an objective must run to its first report", said, do) from error
    if not trial.asked:
        raise InputError(
            "an objective must ask its trial for parameters", "none: it calls no trial.suggest_…"
        )
    return _Traced(asked=trial.asked, values=dict(trial.params), returned=returned)


def _join_runs(runs: Sequence[_Traced]) -> dict[str, Document]:
    space: dict[str, Document] = {}
    for run in runs:
        for name, definition in run.asked.items():
            if space.setdefault(name, definition) != definition:
                found = f"{space[name]} and {definition}"
                raise InputError(
                    f"{name} must be asked for in one way", found, "give one of them another name"
                )
    order = _order(runs)
    return {name: {**space[name], **_condition(name, runs, space)} for name in order}


def _order(runs: Sequence[_Traced]) -> list[str]:
    """Each name after those that were asked before it."""
    order: list[str] = []
    for run in runs:
        place = 0
        for name in run.asked:
            if name not in order:
                order.insert(place, name)
            place = order.index(name) + 1
    return order


def _condition(name: str, runs: Sequence[_Traced], space: Mapping[str, Document]) -> Document:
    """`when`, by the nearest choice before it that decides whether the name is asked for."""
    there = [run for run in runs if name in run.asked]
    if len(there) == len(runs):
        return {}
    before = list(there[0].asked)[: list(there[0].asked).index(name)]
    for parent in reversed([p for p in before if all(p in run.asked for run in there)]):
        inside = [run.values[parent] for run in there]
        outside = [run.values[parent] for run in runs if parent in run.asked and name not in run.asked]
        if outside and not any(value in inside for value in outside):
            values = _values_of(space[parent])
            return {"when": {parent: [value for value in values if value in inside]}}
        if not outside:  # it is there wherever its parent is: the parent's own condition is its
            found = _condition(parent, runs, space)
            if found:
                return found
    do = "write the space by hand, or ask for it always"
    raise InputError(f"{name} must be asked for by one choice before it", "no choice decides it", do)


def _range(kind: str, low: float, high: float, step: float | None, log: bool) -> Document:
    more: Document = {"step": step} if step is not None else {}
    return {"type": kind, "low": low, "high": high, **more, **({"log": True} if log else {})}


def _values_of(definition: Document) -> list[Json]:
    """The values that may lead an objective elsewhere; none of a range of many."""
    if definition["type"] == "categorical":
        return list(definition["choices"])
    if definition["type"] == "float":
        return []
    values = range(definition["low"], definition["high"] + 1, definition.get("step", 1))
    return list(values) if len(values) <= _MOST_VALUES else []


@contextmanager
def _clock() -> Iterator[None]:
    """Ends what asks for nothing any more; only a main thread can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: FrameType | None) -> NoReturn:
        raise _Asked

    former = signal.signal(signal.SIGALRM, ring)
    _restart_clock()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


def _restart_clock() -> None:
    if threading.current_thread() is threading.main_thread():
        signal.setitimer(signal.ITIMER_REAL, _QUIET_S)
