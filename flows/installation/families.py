"""`velodrome families`: what can be swept, known without importing torch."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from pydantic import BaseModel

from flows.terminal.shown_result import ShownResult
from search_spaces.files import built_in_spaces
from search_spaces.space import Space
from search_spaces.values import plain_text
from trainers.errors import InputError
from trainers.family import Family
from trainers.hyperparameters import Hyperparameter
from trainers.registry import BUILT_IN, load_reference
from trainers.types import Json, JsonObject, Params


@dataclass(frozen=True, slots=True, kw_only=True)
class Tunable:
    """One hyper-parameter of a family. `takes`: which values, in words; `swept`: how the family's own space
    searches it, None where it leaves it at its default."""

    name: str
    default: Json
    takes: str
    doc: str
    swept: Mapping[str, Json] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FamilyInfo:
    """One family: what it is for and what can be tuned. `options` by name with their defaults."""

    name: str
    summary: str
    kinds: tuple[str, ...]
    tasks: tuple[str, ...]
    presets: Mapping[str, Params]
    options: Mapping[str, Json]
    hyperparameters: tuple[Tunable, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Families(ShownResult):
    """Families, in the order of the registry."""

    screen: ClassVar[str] = "flows.installation.screens:print_families"

    families: tuple[FamilyInfo, ...]


def families(name: str | None = None) -> Families:
    """The built-in families, or one family, built in or `package.module:name`.

    Raises:
        WrongInput: no such family, or a plain function, whose parameters only its code knows.
    """
    names = list(BUILT_IN) if name is None else [name]
    return Families(families=tuple(family_info(reference) for reference in names))


def family_info(reference: str) -> FamilyInfo:
    """What there is to know of one family.

    Raises:
        InputError: as `families`.
    """
    found = load_reference(reference)
    if not (inspect.isclass(found) and issubclass(found, Family)):
        raise InputError(
            f"{reference} must be a family", "a function", "its space in the sweep file says all"
        )
    family = found()
    own = _own_space(reference)
    return FamilyInfo(
        name=reference,
        summary=found.summary,
        kinds=found.kinds,
        tasks=found.tasks,
        presets={preset: dict(values) for preset, values in found.presets.items()},
        options=_options(found),
        hyperparameters=tuple(
            _tunable(key, entry, own) for key, entry in family.list_hyperparameters().items()
        ),
    )


def _own_space(reference: str) -> dict[str, JsonObject]:
    if reference not in built_in_spaces():
        return {}
    return {parameter.name: parameter.to_json() for parameter in Space.from_mapping(reference).parameters}


def _options(family: type[Family]) -> JsonObject:
    return {
        name: _plain_default(entry.get_default(call_default_factory=True))
        for name, entry in family.Options.model_fields.items()
    }


def _plain_default(default: Json | BaseModel) -> Json:
    return default.model_dump(mode="json") if isinstance(default, BaseModel) else default


def _tunable(name: str, entry: Hyperparameter, own: Mapping[str, JsonObject]) -> Tunable:
    swept = {key: value for key, value in own[name].items() if key != "name"} if name in own else None
    return Tunable(name=name, default=entry.default, takes=accepted_values(entry), doc=entry.doc, swept=swept)


def accepted_values(entry: Hyperparameter) -> str:
    """Which values a hyper-parameter takes, in words."""
    if entry.choices is not None:
        return " | ".join(plain_text(choice) for choice in entry.choices)
    kinds = {
        int: "whole number",
        float: "number",
        str: "text",
        bool: "true | false",
        list: "list",
        dict: "mapping",
    }
    words = [kinds.get(kind, "null") for kind in entry.types]
    bounds = [
        f">= {entry.low:g}" if entry.low is not None else "",
        f"> {entry.above:g}" if entry.above is not None else "",
        f"<= {entry.high:g}" if entry.high is not None else "",
    ]
    return " ".join(part for part in (" | ".join([*words, *entry.words]), *bounds) if part)


def format_definition(definition: Mapping[str, Json]) -> str:
    """How a space searches a name, in words: `0.001 to 1, log`."""
    if definition["type"] == "categorical":
        text = " | ".join(plain_text(choice) for choice in _as_list(definition["choices"]))
    elif definition["type"] in {"float", "int"}:
        text = f"{definition['low']:g} to {definition['high']:g}{', log' if definition.get('log') else ''}"
    else:
        text = plain_text(definition.get("value"))
    conditions = definition.get("when")
    needed = conditions.items() if isinstance(conditions, dict) else ()
    when = " and ".join(
        f"{name} is {' or '.join(map(plain_text, _as_list(value)))}" for name, value in needed
    )
    return f"{text}  (when {when})" if when else text


def _as_list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else [value]
