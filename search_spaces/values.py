"""Values as a space holds them: JSON, compared by type too, so that `true`, `1` and `1.0` are three."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias, TypeGuard

from search_spaces.errors import SpaceError

ParamValue: TypeAlias = "str | int | float | bool | Sequence[ParamValue] | Mapping[str, ParamValue] | None"
StoredValue: TypeAlias = str | int | float | bool  # what Optuna can tell apart, and keeps


def canonical_text(value: ParamValue) -> str:
    """A text that two values share only if they are equal in value and type."""
    return json.dumps(value, sort_keys=True, allow_nan=False)


def plain_text(value: ParamValue) -> str:
    """The value as people read it. A text that would read as nothing or as another value, as `1`, `true`,
    `[3, 4]` and `adam ` (with its blank, or with a mark that nobody sees) do, is quoted: where both are
    choices they stay apart."""
    if not isinstance(value, str):
        return json.dumps(value)
    plain = value != "" and value == value.strip() and value.isprintable() and not _reads_as_json(value)
    return value if plain else json.dumps(value)


def _reads_as_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def short_repr(value: object) -> str:
    """A value for an error text, cut short."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def is_number(value: object) -> TypeGuard[float]:
    """Whether the value is a finite number; a boolean is none."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def is_whole(value: object) -> TypeGuard[int]:
    """Whether the value is a whole number; a boolean is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def index_of(choices: Sequence[ParamValue], value: ParamValue) -> int | None:
    """Which choice the value is: the same in value and type or, failing that, the one equal number."""
    try:
        text = canonical_text(value)
    except (TypeError, ValueError):
        return None
    for index, choice in enumerate(choices):
        if canonical_text(choice) == text:
            return index
    equal = [i for i, choice in enumerate(choices) if _equal_numbers(choice, value)]
    return equal[0] if len(equal) == 1 else None


def _equal_numbers(one: ParamValue, other: ParamValue) -> bool:
    return is_number(one) and is_number(other) and one == other


def json_value(value: object, key: tuple[str, ...], depth: int = 0) -> ParamValue:
    """The value as JSON knows it, tuples as lists.

    Raises:
        SpaceError: something that JSON does not have, or more than 32 levels.
    """
    if depth > 32:
        raise SpaceError("a value must nest at most 32 deep", "more", "flatten it", key=key)
    if value is None or isinstance(value, (str, bool)) or is_number(value):
        return value
    if isinstance(value, (list, tuple)):
        return [json_value(item, key, depth + 1) for item in value]
    if isinstance(value, dict) and all(isinstance(name, str) for name in value):
        return {name: json_value(item, key, depth + 1) for name, item in value.items()}
    raise SpaceError(
        "a value must be text, a finite number, true, false, null, or a list of these",
        short_repr(value),
        key=key,
    )
