"""What typed results have in common: plain JSON, in which nothing is NaN."""

from __future__ import annotations

import json
import math
from dataclasses import Field, asdict
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    from trainers.types import Json, JsonObject


class Result(Protocol):
    """What every command's function returns."""

    def to_json(self) -> JsonObject:
        """Plain JSON types; what `--json` prints."""


class PlainResult:
    """A dataclass whose document is what its fields hold."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def to_json(self) -> JsonObject:
        """All of it, by the names of the attributes."""
        return asdict(self)


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
