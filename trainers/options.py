"""A family's options: fixed structure, which is set once for a sweep and not searched."""

from __future__ import annotations

from collections.abc import Collection

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trainers.errors import InputError
from trainers.nearest import advice
from trainers.types import Params


class Options(BaseModel):
    """A family's fixed structure: what is set once for a sweep and not searched.

    Attributes:
        pretrained: a safetensors file whose weights, by name and shape, the module starts from.
        sha256: what the file (or files) of those weights must hash to.
        freeze: patterns of parameters' names (`encoder.*`) that training leaves as they are.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    pretrained: str | None = None
    sha256: str | None = Field(default=None, pattern=r"^[0-9a-fA-F]{64}$")
    freeze: tuple[str, ...] = ()


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
            do = advice(name, ["preset", *model.model_fields, *sorted(beside)])
            raise InputError("an option must be one of the family's", repr(name), do, key=("options", name))
        raise InputError(
            f"option {name} must be valid: {first['msg']}", repr(first.get("input")), key=("options", name)
        )
