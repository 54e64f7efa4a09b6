"""A list of choices, and a constant, as domains of parameters."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from search_spaces.errors import SpaceError
from search_spaces.number_line import slot
from search_spaces.values import ParamValue, StoredValue, canonical_text, index_of, short_repr

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.distributions import BaseDistribution


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """One of a list of values of any JSON type."""

    choices: tuple[ParamValue, ...]

    @property
    def is_searched(self) -> bool:
        return True

    @property
    def stored_choices(self) -> tuple[StoredValue, ...]:
        """What Optuna holds for each choice: the choices themselves where it can tell them apart, else texts.

        Optuna keeps only numbers, booleans and text, and takes True, 1 and 1.0 for the same.
        """
        simple = [choice for choice in self.choices if isinstance(choice, (str, int, float))]
        if len(set(simple)) == len(self.choices):
            return tuple(simple)
        texts = tuple(c if isinstance(c, str) else canonical_text(c) for c in self.choices)
        return texts if len(set(texts)) == len(texts) else tuple(canonical_text(c) for c in self.choices)

    def distribution(self) -> BaseDistribution:
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.stored_choices)

    def suggest(self, trial: Trial, name: str) -> ParamValue:
        chosen = trial.suggest_categorical(name, self.stored_choices)
        assert chosen is not None  # none of what is stored is
        return self.decode(chosen)

    def at(self, u: float) -> ParamValue:
        return _copy(self.choices[slot(u, len(self.choices))])

    def grid(self) -> Sequence[ParamValue]:
        return self.choices

    def read(self, value: ParamValue) -> ParamValue:
        index = index_of(self.choices, value)
        if index is None:
            listed = ", ".join(short_repr(choice) for choice in self.choices[:12])
            raise SpaceError("it must be one of its choices", short_repr(value), f"choices are {listed}")
        return self.choices[index]

    def encode(self, value: ParamValue) -> StoredValue:
        index = index_of(self.choices, value)
        if index is None:
            raise SpaceError("it must be one of its choices", short_repr(value))
        return self.stored_choices[index]

    def decode(self, stored: StoredValue) -> ParamValue:
        index = index_of(self.stored_choices, stored)
        if index is None:
            raise SpaceError("it must be one of its choices", short_repr(stored))
        return _copy(self.choices[index])

    def to_json(self) -> dict[str, ParamValue]:
        return {"type": "categorical", "choices": list(self.choices)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant:
    """One value, not searched."""

    value: ParamValue

    @property
    def is_searched(self) -> bool:
        return False

    def distribution(self) -> NoReturn:
        raise SpaceError("a constant has no distribution", short_repr(self.value))

    def suggest(self, trial: Trial, name: str) -> ParamValue:
        return self.at(0.0)

    def at(self, u: float) -> ParamValue:
        return _copy(self.value)

    def grid(self) -> Sequence[ParamValue]:
        return (self.value,)

    def read(self, value: ParamValue) -> ParamValue:
        if index_of((self.value,), value) is None:
            raise SpaceError(f"it must be {short_repr(self.value)}, its constant", short_repr(value))
        return self.value

    def encode(self, value: ParamValue) -> NoReturn:
        raise SpaceError("a constant is not stored", short_repr(self.value))

    def decode(self, stored: StoredValue) -> ParamValue:
        return self.at(0.0)

    def to_json(self) -> dict[str, ParamValue]:
        return {"type": "constant", "value": self.value}


def _copy(value: ParamValue) -> ParamValue:
    """So that training may change a list that it was given."""
    return json.loads(canonical_text(value)) if isinstance(value, (list, dict)) else value
