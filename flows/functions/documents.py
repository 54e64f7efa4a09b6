"""A training function with its space, as the mapping that a sweep file would be."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FunctionType
from typing import Any

from infra.errors import WrongInput
from trainers.code.carried import carry_function
from trainers.types import Document


def function_document(
    function: Callable[..., object],
    *,
    space: Mapping[str, Any] | None,
    objective: str | None = None,
    direction: str | None = None,
    trials: int | None = None,
    epochs: int | None = None,
    name: str | None = None,
) -> Document:
    """The sweep of one function.

    Args:
        function: that other processes can import by its module, or that lanes are given by value.
        space: a parameter's range (`loguniform` and the like), a list of choices, or a constant.
        objective: the metric that it reports; `direction` where Velodrome does not know the metric.
        name: of the sweep; by default the function's.

    Raises:
        WrongInput: it is no function, or has no name to be called by; or the space is no mapping.
    """
    named, goal = _check_function(function), _check_objective(objective, space)
    reference, root = _refer_to(named)
    budget = {name: value for name, value in (("trials", trials), ("epochs", epochs)) if value is not None}
    return {
        "name": name or _sweep_name(named),
        "data": {"source": "none"},
        "objective": {"metric": goal, **({"direction": direction} if direction else {})},
        **({"budget": budget} if budget else {}),
        "families": {reference: {"space": {key: _definition(entry) for key, entry in (space or {}).items()}}},
        **({"code": {"root": str(root)}} if root is not None else {}),
    }


def _check_function(function: Callable[..., object]) -> FunctionType:
    if not isinstance(function, FunctionType):
        own = f"the class {function.__name__}" if inspect.isclass(function) else type(function).__name__
        called = "return it(…)(trial)" if inspect.isclass(function) else "return it(trial)"
        do = f"wrap it: def train(trial): {called}" if callable(function) else "def train(trial): …"
        raise WrongInput("a sweep must be given a file, a mapping or a function", own, do)
    if not function.__name__.isidentifier():
        do = "def train(trial): …"
        raise WrongInput("a function that is swept must have a name", function.__name__, do)
    return function


def _check_objective(objective: str | None, space: Mapping[str, Any] | None) -> str:
    if objective is None:
        do = "add objective='accuracy', say, as the function reports it"
        raise WrongInput("a sweep of a function must name its objective", "none", do)
    given: object = space  # a notebook's types are checked by nobody else
    if given is not None and not isinstance(given, Mapping):
        do = 'write space={"width": [32, 64], "rate": velodrome.loguniform(1e-4, 1e-1)}'
        raise WrongInput("space must be a mapping of parameters by name", f"{given!r:.80}", do)
    return objective


def _definition(given: Any) -> Any:
    """A list is a choice; what is written as in a sweep file stays."""
    if isinstance(given, (list, tuple)):
        return {"type": "categorical", "choices": list(given)}
    return given


def _sweep_name(function: FunctionType) -> str:
    return re.sub(r"[^a-z0-9-]+", "-", function.__name__.lower()).strip("-") or "sweep"


def _refer_to(function: FunctionType) -> tuple[str, Path | None]:
    """What a sweep names it by, and the folder that its module is imported from; None where it is carried."""
    module = sys.modules.get(function.__module__)
    file = getattr(module, "__file__", None)
    importable = function.__module__ != "__main__" and file is not None
    if not importable or getattr(module, function.__name__, None) is not function:
        return carry_function(function), None
    path = Path(inspect.getfile(function)).resolve()
    depth = function.__module__.count(".") + (path.name == "__init__.py")
    return f"{function.__module__}:{function.__name__}", path.parents[depth]
