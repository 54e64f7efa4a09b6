"""One parameter's definition, as a mapping from YAML, into its domain and its conditions."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from search_spaces.choices import Choices, Constant
from search_spaces.domains import Domain
from search_spaces.errors import SpaceError
from search_spaces.nearest import advice
from search_spaces.number_line import is_exact, last_step
from search_spaces.ranges import FloatRange, IntRange
from search_spaces.values import ParamValue, canonical_text, is_number, is_whole, json_value, short_repr

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}")
_RANGE_KEYS = ("type", "low", "high", "log", "step", "points", "values", "when")
_KEYS = {"float": _RANGE_KEYS, "int": _RANGE_KEYS, "categorical": ("type", "choices", "when")}
_MOST_POINTS = 10_000

Number = TypeVar("Number", int, float)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """The parameter is there only when `parent` has one of the values."""

    parent: str
    values: tuple[ParamValue, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A name, what it may be, and when it is there (all conditions hold)."""

    name: str
    domain: Domain[ParamValue]
    when: tuple[Condition, ...] = ()

    def to_json(self) -> dict[str, ParamValue]:
        """Plain JSON types only."""
        when = {condition.parent: list(condition.values) for condition in self.when}
        return {"name": self.name, **self.domain.to_json(), **({"when": when} if when else {})}

    @classmethod
    def from_json(cls, document: Mapping[str, ParamValue]) -> Parameter:
        """The inverse of `to_json`."""
        name = str(document["name"])
        if document["type"] == "constant":
            when = _conditions(name, document.get("when", {}))
            return cls(name=name, domain=Constant(value=document["value"]), when=when)
        return read_parameter(name, {key: value for key, value in document.items() if key != "name"})


def read_parameter(name: str, definition: ParamValue) -> Parameter:
    """The parameter of that name; a scalar or a list is a constant.

    Raises:
        SpaceError: with the path of the key to blame.
    """
    if not _NAME.fullmatch(name):
        raise SpaceError(
            "a parameter's name must be letters, digits, _, . and -, and begin with a letter",
            short_repr(name),
            key=(name,),
        )
    if not isinstance(definition, Mapping):
        return Parameter(name=name, domain=Constant(value=json_value(definition, (name,))))
    kind = _kind(name, definition)
    for key in definition:
        if key not in _KEYS[kind]:
            raise SpaceError(
                f"a parameter of type {kind} must have only keys that it reads",
                short_repr(key),
                advice(str(key), _KEYS[kind]),
                key=(name, str(key)),
            )
    domain = _READERS[kind](_Definition(name, definition))
    return Parameter(name=name, domain=domain, when=_conditions(name, definition.get("when", {})))


def _kind(name: str, definition: Mapping[str, ParamValue]) -> str:
    kind = definition.get("type")
    if isinstance(kind, str) and kind in _KEYS:
        return kind
    if "type" in definition:
        do = advice(kind, _KEYS) if isinstance(kind, str) else ""
        raise SpaceError("type must be float, int or categorical", short_repr(kind), do, key=(name, "type"))
    raise SpaceError(
        "a parameter must be a constant or a mapping with type: float, int or categorical",
        f"keys {', '.join(map(str, definition))[:80] or 'none'}",
        "write for instance {type: float, low: 0.001, high: 1.0, log: true}; "
        "a mapping as a value is written {type: categorical, choices: [{...}]}",
        key=(name,),
    )


class _Definition:
    """Typed access to the keys of one definition; every refusal carries its path."""

    def __init__(self, name: str, keys: Mapping[str, ParamValue]) -> None:
        self.name = name
        self.keys = keys

    def error(self, key: str, must: str, found: ParamValue, do: str = "") -> SpaceError:
        return SpaceError(f"{key} must be {must}", short_repr(found), do, key=(self.name, key))

    def number(self, key: str) -> float:
        value = self._require_key(key)
        if not is_number(value):
            do = "write it without quotes" if isinstance(value, str) else ""
            raise self.error(key, "a finite number", value, do)
        return float(value)

    def whole(self, key: str) -> int:
        value = self._require_key(key)
        if not is_whole(value):
            raise self.error(key, "a whole number", value, _advise_whole(value))
        if not is_exact(value):
            raise self.error(key, "at most 2**53 in size", value)
        return value

    def _require_key(self, key: str) -> ParamValue:
        if key not in self.keys:
            keys = f"keys {', '.join(self.keys)}"
            raise SpaceError(f"a range must have {key}", keys, f"add {key}", key=(self.name,))
        return self.keys[key]

    def flag(self, key: str) -> bool:
        value = self.keys.get(key, False)
        if not isinstance(value, bool):
            raise self.error(key, "true or false", value)
        return value

    def items(self, key: str) -> list[ParamValue]:
        value = self.keys.get(key)
        if not isinstance(value, (list, tuple)) or not value:
            raise self.error(key, "a list with at least one value", value)
        return [json_value(item, (self.name, key)) for item in value]


def _float_range(definition: _Definition) -> FloatRange:
    low, high, log = _bounds(definition, definition.number)
    step = None
    if definition.keys.get("step") is not None:
        step = definition.number("step")
        _check_step(definition, low, high, step, log=log)
    domain = FloatRange(low=low, high=high, log=log, step=step)
    points, values = _grid_keys(definition, domain.read)
    return FloatRange(low=low, high=high, log=log, step=step, points=points, values=values)


def _int_range(definition: _Definition) -> IntRange:
    low, high, log = _bounds(definition, definition.whole)
    step = 1
    if definition.keys.get("step") is not None:
        step = definition.whole("step")
        _check_step(definition, low, high, step, log=log and step != 1)
    domain = IntRange(low=low, high=high, log=log, step=step)
    points, values = _grid_keys(definition, domain.read)
    return IntRange(low=low, high=high, log=log, step=step, points=points, values=values)


def _choices(definition: _Definition) -> Choices:
    choices = definition.items("choices")
    seen: set[str] = set()
    for choice in choices:
        text = canonical_text(choice)
        if text in seen:
            raise definition.error("choices", "different from each other", choice, "delete the second one")
        seen.add(text)
    return Choices(choices=tuple(choices))


_READERS: Mapping[str, Callable[[_Definition], Domain[ParamValue]]] = {
    "float": _float_range,
    "int": _int_range,
    "categorical": _choices,
}


def _bounds(definition: _Definition, read: Callable[[str], Number]) -> tuple[Number, Number, bool]:
    low = read("low")
    high = read("high")
    log = definition.flag("log")
    if low > high:
        raise definition.error("low", f"at most high ({high:g})", low, "exchange them")
    if log and low <= 0:
        raise definition.error("low", "above 0 where log is true", low, "raise low or drop log")
    if not math.isfinite(float(high) - float(low)):
        raise definition.error("high", "a finite distance from low", high)
    return low, high, log


def _check_step(definition: _Definition, low: float, high: float, step: float, *, log: bool) -> None:
    if step <= 0:
        raise definition.error("step", "above 0", step)
    if log:
        raise definition.error("step", "left out where log is true", step, "drop step or log")
    if not math.isfinite((high - low) / step) or (high - low) / step > 2**31:
        raise definition.error("step", "large enough for at most 2**31 steps", step)
    last = last_step(low, high, step)
    if last != high:  # Optuna would lower it with no more than a warning
        raise definition.error(
            "step", "such that high is low plus whole steps", step, f"set high: {last:g} or another step"
        )


def _grid_keys(
    definition: _Definition, read: Callable[[ParamValue], Number]
) -> tuple[int | None, tuple[Number, ...] | None]:
    keys = definition.keys
    if keys.get("points") is not None and keys.get("values") is not None:
        raise definition.error(
            "points", "left out where values are given", keys["points"], "drop one of them"
        )
    return _points(definition), _values(definition, read)


def _points(definition: _Definition) -> int | None:
    if definition.keys.get("points") is None:
        return None
    points = definition.whole("points")
    if not 2 <= points <= _MOST_POINTS:
        raise definition.error("points", f"from 2 to {_MOST_POINTS}", points)
    if definition.keys.get("step") is not None:
        raise definition.error("points", "left out where there is a step", points, "drop one of them")
    return points


def _values(definition: _Definition, read: Callable[[ParamValue], Number]) -> tuple[Number, ...] | None:
    if definition.keys.get("values") is None:
        return None
    found = []
    for value in definition.items("values"):
        try:
            found.append(read(value))
        except SpaceError as error:
            raise SpaceError(
                f"values must lie in the range: {error.must}",
                error.found,
                error.do,
                key=(definition.name, "values"),
            ) from error
    if len(set(found)) < len(found):
        raise definition.error("values", "different from each other", definition.keys["values"])
    return tuple(found)


def _conditions(name: str, when: ParamValue) -> tuple[Condition, ...]:
    if not isinstance(when, Mapping):
        raise SpaceError(
            "when must be a mapping of a parameter's name to its values",
            short_repr(when),
            "write when: {optimizer: [sgd]}",
            key=(name, "when"),
        )
    conditions = []
    for parent, wanted in when.items():
        key = (name, "when", str(parent))
        values = json_value(wanted, key)
        if isinstance(values, list) and not values:
            raise SpaceError("when must list at least one value", "an empty list", key=key)
        listed = values if isinstance(values, list) else [values]
        conditions.append(Condition(parent=str(parent), values=tuple(listed)))
    return tuple(conditions)


def _advise_whole(value: ParamValue) -> str:
    if isinstance(value, float) and value.is_integer():
        return f"write {int(value)}"
    return "write it without quotes" if isinstance(value, str) else ""
