"""What a version takes and gives, with what training saw of it: for requests, documents and drift."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from trainers.types import Json, JsonObject

SPELT = "spelt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A column that a model takes or gives; `type` as in `trainers.bundle.signature.ColumnSpec`, or `spelt`:
    numbers, and texts that stand for them as the training file spelt them."""

    name: str
    type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSchema:
    """What answers, in words of its columns.

    Attributes:
        fields: the columns that it takes; none where it does not say.
        outputs: the columns that it gives; none where it does not say.
        example: rows of its own example, as a request has them.
        task: what it was trained for, where it says.
        classes: its labels.
        distribution: column → how its values were distributed in training, see
            `trainers.data.distribution`; `""` is the target's.
        read: the `data.read` that its training file was read by, where that was said; `target`: the name of
            the column that it learned to tell.
    """

    fields: list[Field]
    outputs: list[Field] = field(default_factory=list)
    example: list[JsonObject] = field(default_factory=list)
    task: str = ""
    classes: list[str] = field(default_factory=list)
    distribution: Mapping[str, Json] = field(default_factory=dict)
    read: Mapping[str, Json] = field(default_factory=dict)
    target: str = ""
