"""What goes into a model and what comes out, as plain names and types; MLflow's schema is made of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

    from trainers.types import Document, JsonObject


ColumnType = Literal["double", "long", "boolean", "string", "any"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnSpec:
    """One column. `any` is for images and clips (paths, encoded bytes or nested lists of numbers) and for
    numbers that training found in a spelling of people's."""

    name: str
    type: ColumnType


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """Columns of the rows that a model takes and of the predictions that it gives."""

    inputs: tuple[ColumnSpec, ...]
    outputs: tuple[ColumnSpec, ...]

    def to_json(self) -> JsonObject:
        """Plain JSON types only."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Document) -> Signature:
        """What `to_json` gave, also that of a former version, which said more of a column."""
        inputs, outputs = (
            tuple(ColumnSpec(name=column["name"], type=column["type"]) for column in document[side])
            for side in ("inputs", "outputs")
        )
        return cls(inputs=inputs, outputs=outputs)


def column_specs(rows: pd.DataFrame, *, of_inputs: bool = False) -> tuple[ColumnSpec, ...]:
    """Names and types of a frame's columns.

    Args:
        of_inputs: whole numbers count as `double`, because a later row may lack one or have a fraction, and
            a column named `image` or `audio` takes anything.
    """
    return tuple(
        ColumnSpec(name=str(name), type=_column_type(str(name), rows[name], of_inputs))
        for name in rows.columns
    )


def _column_type(name: str, values: pd.Series, of_inputs: bool) -> ColumnType:
    if of_inputs and name in ("image", "audio"):
        return "any"
    kind = values.dtype.kind if isinstance(values.dtype, np.dtype) else "O"
    if kind == "b":
        return "boolean"
    if kind in "iu":
        return "double" if of_inputs else "long"
    if kind == "f":
        return "double"
    first = next((value for value in values if value is not None), "")
    return "string" if isinstance(first, str) else "any"
