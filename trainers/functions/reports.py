"""What people's own code may report: names and numbers, checked one by one."""

from __future__ import annotations

import logging
import math
import numbers
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import SupportsFloat

from trainers.errors import InputError, NotFinite, TrialError
from trainers.metric_names import GAP, full_name, names_of_groups
from trainers.nearest import nearest
from trainers.types import Goal

log = logging.getLogger(__name__)

# Signs that filters and pages need are left out: < > = ! | \ " ` and the like.
_NAME = re.compile(r"(?=.{1,200}\Z)\w(?:[\w. /:@()\[\]%+,&'#*-]|=(?=[^()]*\)))*")
_NOT_IN_MLFLOW = re.compile(r"[^\w. /:-]")  # there one sign stands for all of them
_MOST = 200
BY_GROUPS = "trial.report(…, **trial.group_metrics(answers))"
_OURS = ("best/", "system/")


def check_metrics(metrics: Mapping[str, SupportsFloat], goals: Iterable[Goal]) -> dict[str, float]:
    """The metrics by their full names, as floats.

    A number that is not finite and by which nothing is judged is left out, with a warning in the log.

    Raises:
        TrialError: a name that cannot be stored, or a value that is not one real number.
        NotFinite: the value of a goal is not a finite number.
    """
    judged = {full_name(goal.metric) for goal in goals}
    values: dict[str, float] = {}
    for given, value in metrics.items():
        name = full_name(_check_name(given))
        number = _to_number(name, value)
        if math.isfinite(number):
            values[name] = number
        elif name in judged:
            raise NotFinite(f"{name} must be a finite number", str(value))
        else:
            log.warning("%s was %s and is left out of this report", name, number)
    _refuse_alike(values)
    return values


def _refuse_alike(names: Iterable[str]) -> None:
    """MLflow would make one curve of two that differ in signs alone that it does not take."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(_NOT_IN_MLFLOW.sub("_", name), name)
        if other != name:
            must = "metrics must differ in more than signs that MLflow does not take"
            raise TrialError(must, f"{other!r} and {name!r}")


def name_metrics(
    given: Mapping[str, SupportsFloat] | SupportsFloat | None,
    named: Mapping[str, SupportsFloat],
    goals: Sequence[Goal],
) -> dict[str, SupportsFloat]:
    """What `report` was given, by name; a number alone, as Optuna has it, is the first goal's value."""
    if set(named) == {"value", "step"} and given is None:
        given, named = named["value"], {}
    if given is None or isinstance(given, Mapping):
        return {**(given or {}), **named}
    others = {name: value for name, value in named.items() if name != "step"}
    return {goals[0].metric if goals else "value": given, **others}


def find_step(given: object, step: object, named: Mapping[str, object]) -> int | None:
    """The step of a report that is made as Optuna's are, with a number alone; None: there is none."""
    if isinstance(given, Mapping) or (given is None and set(named) != {"value", "step"}):
        return None  # a metric may be called so
    found = named.get("step") if step is None else step
    return int(found) if isinstance(found, numbers.Integral) else None


def are_numbers(values: Iterable[object]) -> bool:
    """Whether each is one real number: Python's, NumPy's, or a tensor without dimensions."""
    return all(
        (not isinstance(value, bool) and isinstance(value, numbers.Real))
        or (hasattr(value, "item") and getattr(value, "ndim", None) == 0)
        for value in values
    )


def _check_name(name: str) -> str:
    if isinstance(name, str) and names_of_groups([name]) and name.isprintable() and len(name) <= _MOST:
        return name  # a group's, whose value may be any word: as Velodrome's own families report it
    if not isinstance(name, str) or not _NAME.fullmatch(name) or ".." in name or "//" in name:
        raise TrialError(
            "a metric's name must be letters, digits, blanks within, and _ . - / : @ ( ) [ ] % + , & ' # *,"
            " and = in parentheses, at most 200",
            repr(name),
        )
    if name.startswith(_OURS):
        raise TrialError("a metric's name must not begin with best/ or system/, which are ours", repr(name))
    return name


def _to_number(name: str, value: SupportsFloat) -> float:
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # a tensor or array of no dimensions
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        shape = getattr(value, "shape", None)
        kind = type(value).__name__ + (f" of shape {tuple(shape)}" if shape is not None else "")
        raise TrialError(f"the value reported for {name} must be one number", f"{kind}: {value!r:.80}")
    try:
        return float(value)
    except OverflowError:
        return math.inf  # an integer beyond 1e308


def require_goals(
    metrics: Mapping[str, float], goals: Iterable[Goal], error: type[InputError | TrialError]
) -> None:
    """Refuses metrics that lack something to be judged by.

    Args:
        error: the class to raise: `InputError` before anything is spent, `TrialError` afterwards.
    """
    for goal in goals:
        wanted = full_name(goal.metric)
        if wanted not in metrics:
            near = nearest(wanted, metrics)
            hint = f"did you mean {near}?" if near else "report it, or choose another objective.metric"
            if wanted.endswith(f"/{GAP}") or names_of_groups([wanted]):
                hint = BY_GROUPS
            found = f"only {', '.join(sorted(metrics))}" if metrics else "no report at all"
            raise error(f"the objective {wanted} must be reported", found, hint, key=("objective", "metric"))
