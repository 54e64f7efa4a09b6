"""What an Optuna objective asks of its trial, answered from the sampled configuration."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from trainers.errors import TrialError
from trainers.nearest import advice
from trainers.types import Json

_Choice = TypeVar("_Choice", bound="Json")


class _Sampled(Protocol):
    """What the names need of a trial."""

    params: dict[str, Json]
    directory: Path


class _AsksFloats(Protocol):
    """What the former names need of a trial."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """As Optuna's."""


class FormerNames:
    """What `suggest_float` was called before Optuna 3: many objectives still do."""

    def suggest_uniform(self: _AsksFloats, name: str, low: float, high: float) -> float:
        """`suggest_float(name, low, high)`."""
        return self.suggest_float(name, low, high)

    def suggest_loguniform(self: _AsksFloats, name: str, low: float, high: float) -> float:
        """`suggest_float(name, low, high, log=True)`."""
        return self.suggest_float(name, low, high, log=True)

    def suggest_discrete_uniform(self: _AsksFloats, name: str, low: float, high: float, q: float) -> float:
        """`suggest_float(name, low, high, step=q)`."""
        return self.suggest_float(name, low, high, step=q)


class OptunaNames(FormerNames):
    """`suggest_…` and user attributes, by Optuna's names. `suggest` only looks up: the sweep's sampler has
    chosen already, by the space in its file (`velodrome new module:objective` writes it)."""

    def suggest_float(
        self: _Sampled, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """The sampled value.

        Raises:
            TrialError: it was not sampled, or lies outside.
        """
        value = _look_up(self.params, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise _outside(name, value, f"a number from {low} to {high}")
        slack = 1e-9 * max(abs(low), abs(high))
        if not low - slack <= value <= high + slack:
            raise _outside(name, value, f"from {low} to {high}")
        if step and not math.isclose((value - low) / step, round((value - low) / step), abs_tol=1e-6):
            raise _outside(name, value, f"a multiple of {step} above {low}")
        return float(value)

    def suggest_int(
        self: _Sampled, name: str, low: int, high: int, *, step: int = 1, log: bool = False
    ) -> int:
        """The sampled value.

        Raises:
            TrialError: it was not sampled, or lies outside.
        """
        value = _look_up(self.params, name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise _outside(name, value, f"a whole number from {low} to {high}")
        if (value - low) % step:
            raise _outside(name, value, f"a multiple of {step} above {low}")
        return value

    def suggest_categorical(self: _Sampled, name: str, choices: Sequence[_Choice]) -> _Choice:
        """The sampled choice, as the very object that is given here.

        Raises:
            TrialError: it was not sampled, or is none of the choices.
        """
        value = _look_up(self.params, name)
        for choice in choices:
            plain = list(choice) if isinstance(choice, tuple) else choice
            if plain == value and isinstance(plain, bool) == isinstance(value, bool):
                return choice
        raise _outside(name, value, f"one of {list(choices)}")

    def set_user_attr(self: _Sampled, key: str, value: Json) -> None:
        """Keeps a value beside the trial: in `user_attrs.json` in its directory."""
        path = self.directory / "user_attrs.json"
        former = json.loads(path.read_text()) if path.is_file() else {}
        path.write_text(json.dumps({**former, key: value}, default=str))

    @property
    def user_attrs(self: _Sampled) -> Mapping[str, Json]:
        """What `set_user_attr` kept, in any attempt."""
        path = self.directory / "user_attrs.json"
        found: Mapping[str, Json] = json.loads(path.read_text()) if path.is_file() else {}
        return found


def _look_up(params: Mapping[str, Json], name: str) -> Json:
    if name not in params:
        do = advice(name, params) or "add it to space: `velodrome new module:objective` writes one"
        found = f"a space of {', '.join(sorted(params)) or 'nothing'}"
        raise TrialError(f"{name} must be in the sampled configuration", found, do)
    return params[name]


def _outside(name: str, value: Json, wanted: str) -> TrialError:
    do = "make the space in the sweep file and the objective the same"
    return TrialError(f"{name} must be {wanted} as the objective asks", repr(value), do)
