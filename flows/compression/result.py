"""What `velodrome compress` made."""

from __future__ import annotations

from dataclasses import dataclass

from flows.terminal.json_results import PlainResult


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSize(PlainResult):
    """A trial's first objective on validation, and what its model's weights take."""

    value: float
    size_bytes: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Compression(PlainResult):
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
