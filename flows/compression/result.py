"""What `velodrome compress` made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainers.types import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSize:
    """A trial's first objective on validation, and what its model's weights take."""

    value: float
    size_bytes: float

    def to_json(self) -> JsonObject:
        """All of it."""
        return {"value": self.value, "size_bytes": self.size_bytes}


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression:
    """A trial whose model is a smaller version of another trial's.

    Attributes:
        number: of the new trial; `made_of`: of the one whose model was made smaller.
        unsent: how many things tracking has not got.
    """

    sweep: str
    family: str
    number: int
    made_of: int
    how: str
    metric: str
    before: ModelSize
    after: ModelSize
    unsent: int

    def to_json(self) -> JsonObject:
        """All of it."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**plain, "before": self.before.to_json(), "after": self.after.to_json()}
