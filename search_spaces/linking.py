"""How the parameters of a space depend on each other: inheritance, conditions, and a safe order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from search_spaces.errors import SpaceError
from search_spaces.nearest import advice
from search_spaces.ranges import FloatRange
from search_spaces.reading import Condition, Parameter
from search_spaces.values import ParamValue, index_of, short_repr

MOST_PARAMETERS = 500


def overlay(inherited: Iterable[Parameter], own: Mapping[str, Parameter]) -> list[Parameter]:
    """The inherited parameters, replaced and followed by one's own.

    An inherited parameter whose condition can no longer hold (the child made `optimizer` the constant
    `adam`, say, and `momentum` was for `sgd`) is left out; a condition of one's own is checked by `link`.
    """
    kept = {parameter.name: own.get(parameter.name, parameter) for parameter in inherited}
    merged = {**kept, **own}
    while True:
        adapted = {
            name: entry if name in own else _adapt_parameter(entry, merged) for name, entry in merged.items()
        }
        left = {name: entry for name, entry in adapted.items() if entry is not None}
        if len(left) == len(merged):
            return list(left.values())
        merged = left


def _adapt_parameter(parameter: Parameter, among: Mapping[str, Parameter]) -> Parameter | None:
    conditions = []
    for condition in parameter.when:
        parent = among.get(condition.parent)
        values = tuple(v for v in condition.values if parent is not None and _is_allowed(parent, v))
        if not values:
            return None
        conditions.append(replace(condition, values=values))
    return replace(parameter, when=tuple(conditions))


def _is_allowed(parent: Parameter, value: ParamValue) -> bool:
    try:
        parent.domain.read(value)
    except SpaceError:
        return False
    return True


def link(parameters: Sequence[Parameter]) -> tuple[Parameter, ...]:
    """The parameters with checked conditions, every parent before its children, else in the given order.

    Raises:
        SpaceError: a condition names an unknown parameter, one without choices, a value that it never
            takes, or leads back to itself.
    """
    if len(parameters) > MOST_PARAMETERS:
        found = str(len(parameters))
        raise SpaceError(f"a space must have at most {MOST_PARAMETERS} parameters", found, "make it smaller")
    by_name = {parameter.name: parameter for parameter in parameters}
    checked = {name: _check_parameter(parameter, by_name) for name, parameter in by_name.items()}
    ordered: dict[str, Parameter] = {}
    for name in checked:
        _place(name, checked, ordered)
    return tuple(ordered.values())


def _place(start: str, among: Mapping[str, Parameter], ordered: dict[str, Parameter]) -> None:
    """Puts `start` after its parents; a loop instead of recursion, for chains of any length."""
    waiting = [start]
    while waiting:
        name = waiting[-1]
        missing = [c.parent for c in among[name].when if c.parent not in ordered]
        if name in ordered or not missing:
            ordered.setdefault(name, among[name])
            waiting.pop()
        elif missing[0] in waiting:
            circle = " → ".join([*waiting[waiting.index(missing[0]) :], missing[0]])
            raise SpaceError(
                "when must not lead back to itself", circle, "drop one", key=(missing[0], "when")
            )
        else:
            waiting.append(missing[0])


def _check_parameter(parameter: Parameter, among: Mapping[str, Parameter]) -> Parameter:
    conditions = tuple(_check_condition(parameter.name, c, among) for c in parameter.when)
    return replace(parameter, when=conditions)


def _check_condition(name: str, condition: Condition, among: Mapping[str, Parameter]) -> Condition:
    key = (name, "when", condition.parent)
    parent = among.get(condition.parent)
    if parent is None:
        do = advice(condition.parent, [other for other in among if other != name])
        raise SpaceError("when must name a parameter of the space", short_repr(condition.parent), do, key=key)
    if isinstance(parent.domain, FloatRange):
        raise SpaceError(
            "when must name a parameter with choices, whole numbers or a constant",
            f"{parent.name}, a float range",
            "give it choices",
            key=key,
        )
    try:
        values = tuple(parent.domain.read(value) for value in condition.values)
    except SpaceError as error:
        raise SpaceError(
            f"when must name a value that {parent.name} takes",
            error.found,
            _advise(error, condition),
            key=key,
        ) from error
    return replace(condition, values=values)


def _advise(error: SpaceError, condition: Condition) -> str:
    nested = "; a list as one value is written [[...]]" if len(condition.values) > 1 else ""
    return (error.do or error.must) + nested


def conditions_hold(parameter: Parameter, chosen: Mapping[str, ParamValue]) -> bool:
    """Whether every condition holds among the values chosen so far."""
    return all(
        condition.parent in chosen and index_of(condition.values, chosen[condition.parent]) is not None
        for condition in parameter.when
    )
