"""What typed results have in common: plain JSON, in which nothing is NaN."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import Field, fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Protocol

from trainers.types import Json, JsonObject


class Result(Protocol):
    """What every command's function returns."""

    def to_json(self) -> JsonObject:
        """Plain JSON types; what `--json` prints."""


class PlainResult:
    """A dataclass whose document is what its fields hold, and the properties that `also` names."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    also: ClassVar[tuple[str, ...]] = ()

    def to_json(self) -> JsonObject:
        """All of it, by the names of the attributes."""
        return {name: _plain_value(getattr(self, name)) for name in (*self.__dataclass_fields__, *self.also)}


def _plain_value(value: Any) -> Any:
    if hasattr(value, "to_json"):
        return value.to_json()
    if is_dataclass(value):
        return {entry.name: _plain_value(getattr(value, entry.name)) for entry in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain_value(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain_value(entry) for entry in value]
    return str(value) if isinstance(value, (Path, StrEnum)) else value


def to_plain(value: Json) -> Json:
    """The value with everything that JSON cannot hold made into what it can: a number that is not finite is
    null, a tuple a list."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): to_plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(entry) for entry in value]
    return value


def json_document(result: Result) -> str:
    """The result as one JSON document, strict enough for any parser."""
    return json.dumps(to_plain(result.to_json()), indent=2, ensure_ascii=False, allow_nan=False)
