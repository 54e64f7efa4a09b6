"""The types of the sweep file's fields: what each takes, said once for the check and for the JSON schema."""

from __future__ import annotations

import re
from collections.abc import Callable
from types import UnionType
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from infra.durations import DURATION, EPOCHS
from infra.errors import WrongInput
from infra.names import RULE, check_name, split_version
from search_spaces.nearest import advice
from trainers.data.sources.schemes import SCHEMES
from trainers.types import Json

T = TypeVar("T")

BUILT_IN_DATA = ("digits", "diabetes", "cancer", "docstrings", "photos")
SOURCES = tuple(scheme if scheme == "none" else f"{scheme}:" for scheme in SCHEMES)
_SIZE = re.compile(r"(?P<count>[1-9][0-9]{0,8}) ?(?P<unit>[KMGT])(?P<binary>i?)B")
_POWERS = {"K": 1, "M": 2, "G": 3, "T": 4}
_SIZE_PATTERN = r"^[1-9][0-9]{0,8} ?[KMGT]i?B$"


def schema_error(must: str, do: str = "") -> PydanticCustomError:
    """An error of ours for pydantic to collect: what must hold and what to do."""
    return PydanticCustomError("velodrome", "{must}", {"must": must, "do": do})


def _as_validator(check: Callable[[Json], T]) -> Callable[[Json], T]:
    def validate(value: Json) -> T:
        try:
            return check(value)
        except WrongInput as error:
            raise schema_error(f"be valid: {error.must}", error.do) from error

    return validate


def _text_validator(pattern: str, must: str, do: str) -> Callable[[Json], str]:
    def validate(value: Json) -> str:
        if isinstance(value, str) and re.fullmatch(pattern, value):
            return value
        raise schema_error(must, do)

    return validate


def _source(value: Json) -> str:
    if not isinstance(value, str) or not value.startswith(SOURCES) or "\0" in value:
        near = (
            advice(value.partition(":")[0], [s.rstrip(":") for s in SOURCES])
            if isinstance(value, str)
            else ""
        )
        raise schema_error(f"begin with one of {', '.join(SOURCES)}", near)
    prefix, colon, rest = value.partition(":")
    if prefix == "builtin" and rest not in BUILT_IN_DATA:
        raise schema_error(f"be builtin:{{{', '.join(BUILT_IN_DATA)}}}", advice(rest, BUILT_IN_DATA))
    if (prefix == "none") == bool(colon) or (colon and not rest):
        raise schema_error("be none, or a kind and a name as in csv:churn.csv", "complete it")
    return value


def _gpus(value: Json) -> float | Literal["auto"]:
    if value == "auto":
        return "auto"
    if (
        not isinstance(value, (int, float))
        or isinstance(value, bool)
        or not 0 <= value <= 1024
        or (value > 1 and value != int(value))
    ):
        raise schema_error("be auto, a whole number, or a fraction below 1", "write 0, 0.5, 1 or auto")
    return float(value)


LARGEST_STACK = 4096


def _lanes(value: Json) -> int | Literal["auto"]:
    if value == "auto":
        return "auto"
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 100_000:
        raise schema_error("be auto or a whole number of at least 1", "write 1 or auto")
    return value


def _stack(value: Json) -> int | Literal["auto", "off"]:
    if value is False or value == "off":  # YAML 1.1 reads the word as a boolean
        return "off"
    if value == "auto":
        return "auto"
    if not isinstance(value, int) or isinstance(value, bool) or not 2 <= value <= LARGEST_STACK:
        raise schema_error(f"be auto, off or a whole number of 2 to {LARGEST_STACK:,}", "write auto or 16")
    return value


def _memory(value: Json) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    size = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if size is None:
        raise schema_error("be a size such as 4GiB, or bytes", "write 4GiB")
    base = 1024 if size["binary"] else 1000
    return int(size["count"]) * int(base ** _POWERS[size["unit"]])


def _keep(value: Json) -> str:
    if value in ("best", "all"):
        return str(value)
    top = value.get("top") if isinstance(value, dict) and len(value) == 1 else None
    if isinstance(value, str) and (found := re.fullmatch(r"top: ?([1-9][0-9]{0,5})", value)):
        top = int(found[1])
    if not isinstance(top, int) or isinstance(top, bool) or top < 1:
        raise schema_error("be best, all or {top: K} with K at least 1", "write models: {top: 3}")
    return f"top: {top}"


def _expand_name(value: Json) -> Json:
    return {"name": value} if isinstance(value, str) else value


Line = Annotated[str, Field(min_length=1, max_length=250, pattern=r"^[^\x00-\x1f\x7f]+$")]
Positive = Annotated[float, Field(gt=0)]
Whole = Annotated[int, Field(ge=1, le=2**53)]

SweepName = Annotated[
    str,
    PlainValidator(_as_validator(lambda value: check_name(value, "sweep"))),
    WithJsonSchema({"type": "string", "pattern": f"^{RULE}$"}),
]
ModelName = Annotated[
    str,
    PlainValidator(_as_validator(lambda value: check_name(value, "model"))),
    WithJsonSchema({"type": "string", "pattern": f"^{RULE}$"}),
]
SweepVersion = Annotated[
    str,
    AfterValidator(lambda value: (_as_validator(split_version)(value), value)[1]),
    Field(examples=["digits", "digits@2"]),
]
Source = Annotated[
    str,
    PlainValidator(_source),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": [*(f"builtin:{name}" for name in BUILT_IN_DATA), "none"]},
                {"type": "string", "pattern": "^(csv|jsonl|parquet|excel|images|audio|npz|text|hf):."},
            ]
        }
    ),
]
Duration = Annotated[
    str,
    PlainValidator(_text_validator(DURATION, "be a duration above 0 with its unit", "write 30s, 10m or 2h")),
    WithJsonSchema({"type": "string", "pattern": f"^{DURATION}$", "examples": ["30s", "10m", "2h"]}),
]
DurationOrEpochs = Annotated[
    str,
    PlainValidator(
        _text_validator(
            f"{DURATION}|{EPOCHS}", "be a duration (30s) or a number of epochs", "write 30s or 5 epochs"
        )
    ),
    WithJsonSchema(
        {"type": "string", "pattern": f"^(?:{DURATION}|{EPOCHS})$", "examples": ["30s", "5 epochs"]}
    ),
]
Gpus = Annotated[
    float | Literal["auto"],
    PlainValidator(_gpus),
    WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "number", "minimum": 0}]}),
]
Lanes = Annotated[
    int | Literal["auto"],
    PlainValidator(_lanes),
    WithJsonSchema({"anyOf": [{"const": "auto"}, {"type": "integer", "minimum": 1}]}),
]
StackWidth = Annotated[
    int | Literal["auto", "off"],
    PlainValidator(_stack),
    WithJsonSchema(
        {"anyOf": [{"enum": ["auto", "off"]}, {"type": "integer", "minimum": 2, "maximum": LARGEST_STACK}]}
    ),
]
Memory = Annotated[
    int,
    PlainValidator(_memory),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": _SIZE_PATTERN}]}
    ),
]
KeptModels = Annotated[
    str,
    PlainValidator(_keep),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["best", "all"]},
                {
                    "type": "object",
                    "properties": {
                        "top": {"type": "integer", "minimum": 1, "description": "The best K of each family."}
                    },
                    "required": ["top"],
                    "additionalProperties": False,
                },
            ]
        }
    ),
]


def name_shorthand(names: tuple[str, ...], options: UnionType) -> BeforeValidator:
    """Lets `tpe` stand for `{name: tpe}`, in the check and in the JSON schema."""
    return BeforeValidator(_expand_name, json_schema_input_type=Literal[names] | options)
