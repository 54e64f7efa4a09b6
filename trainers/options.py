"""A family's options: fixed structure, which is set once for a sweep and not searched."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from trainers.errors import InputError
from trainers.nearest import advice
from trainers.types import Params


class Teacher(BaseModel):
    """A finished model whose answers are learned beside the targets.

    Attributes:
        model: in a sweep file a registered model (`models:/digits@champion`, `digits/3`) or `sweep:NAME`;
            here the folder of its bundle.
        temperature, weight: what `teacher_temperature` and `teacher_weight` are where a space names neither.
        sha256: what the bundle's manifest must hash to.
        version: what `model` came to when the sweep was read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(min_length=1)
    temperature: float = Field(default=2.0, gt=0)
    weight: float = Field(default=0.5, ge=0, le=1)
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-fA-F]{64}$")
    version: str = ""


class Privacy(BaseModel):
    """Training that tells little of any one example (DP-SGD).

    Attributes:
        noise, clip: what `privacy_noise` and `privacy_clip` are where a space names neither.
        delta: the chance with which the bound `epsilon` may fail; below one in the examples of training.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    noise: float = Field(default=1.0, gt=0)
    clip: float = Field(default=1.0, gt=0)
    delta: float = Field(gt=0, lt=1)


LATER = ("teacher", "privacy")  # options that are left out where they are not set, as before there were any


class Options(BaseModel):
    """A family's fixed structure: what is set once for a sweep and not searched.

    Attributes:
        pretrained: a safetensors file whose weights, by name and shape, the module starts from.
        sha256: what the file (or files) of those weights must hash to.
        freeze: patterns of parameters' names (`encoder.*`) that training leaves as they are.
        teacher: whose answers are learned beside the targets.
        privacy: trains with a bound on what is told of any one example.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    pretrained: str | None = None
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-fA-F]{64}$")
    freeze: tuple[str, ...] = ()
    teacher: Teacher | None = None
    privacy: Privacy | None = None

    @model_serializer(mode="wrap")
    def _leave_out_absent(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document: dict[str, Any] = write(self)
        return {name: value for name, value in document.items() if name not in LATER or value is not None}


def read_options(model: type[Options], values: Params, *, beside: Collection[str] = ()) -> Options:
    """The options as their typed model.

    Args:
        beside: other names that may stand there, to suggest for an unknown one.

    Raises:
        InputError: names the option, what it takes and, for an unknown one, the nearest that exists.
    """
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        if first["type"] == "extra_forbidden":
            if len(first["loc"]) > 1:
                must = f"option {name} must have known keys"
                raise InputError(must, repr(first["loc"][-1]), key=("options", name))
            do = advice(name, ["preset", *model.model_fields, *sorted(beside)])
            raise InputError("an option must be one of the family's", repr(name), do, key=("options", name))
        where = ".".join(map(str, first["loc"]))
        raise InputError(
            f"option {where} must be valid: {first['msg']}", repr(first.get("input")), key=("options", name)
        )
