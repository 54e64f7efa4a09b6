"""JSON schemas of the Open Inference Protocol's bodies."""

from __future__ import annotations

from typing import Any

from infra.serving.model_schema import ModelSchema
from infra.serving.open_inference import BOUNDS, DATATYPES, FRACTIONS, INTEGERS

_SHAPE = {"type": "array", "minItems": 1, "maxItems": 8, "items": {"type": "integer", "minimum": 1}}
_DATATYPE = {"type": "string", "enum": list(DATATYPES)}
_KINDS = {
    "BOOL": "boolean", **dict.fromkeys(INTEGERS, "integer"), **dict.fromkeys(FRACTIONS, "number"),
    "BYTES": "string",
}  # fmt: skip
_COUNT = "as many values as the shape's product, in row-major order, flat or nested; another number is a 400"


def _tensor(names: list[str] | None = None) -> dict[str, Any]:
    """Its values by its type. That they are as many as its shape says is told in words: no JSON schema can
    multiply."""
    name: dict[str, Any] = {"type": "string", "minLength": 1}
    if names:
        name["description"] = f"a column: {', '.join(names[:100])}"
    return {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": name, "shape": _SHAPE, "datatype": _DATATYPE,
            "data": {"type": "array", "minItems": 1, "description": _COUNT},
            "parameters": {"type": "object"},
        },
        "oneOf": [_values_of(datatype) for datatype in DATATYPES],
    }  # fmt: skip


def _values_of(datatype: str) -> dict[str, Any]:
    """Tensors of this type hold values that it can hold, or lists of them."""
    value: dict[str, Any] = {"type": [_KINDS[datatype], "array"]}
    if datatype in BOUNDS:
        value["minimum"], value["maximum"] = BOUNDS[datatype]
    return {"properties": {"datatype": {"const": datatype}, "data": {"items": value}}}


def infer_body_schema(schema: ModelSchema) -> dict[str, Any]:
    """A request: a tensor a column, whose first dimension is the rows, or one matrix for all columns."""
    inputs = {"type": "array", "minItems": 1, "items": _tensor([column.name for column in schema.fields])}
    given: dict[str, Any] = {"type": "string"}
    if schema.outputs:
        given["enum"] = [column.name for column in schema.outputs]
    chosen = {"type": "object", "required": ["name"], "properties": {"name": given}}
    return {
        "type": "object", "required": ["inputs"],
        "properties": {
            "id": {"type": "string"}, "parameters": {"type": "object"}, "inputs": inputs,
            "outputs": {"type": "array", "items": chosen},
        },
    }  # fmt: skip


def infer_answer_schema() -> dict[str, Any]:
    """An answer: a tensor an output."""
    properties = {
        "model_name": {"type": "string"}, "model_version": {"type": "string"}, "id": {"type": "string"},
        "outputs": {"type": "array", "items": _tensor()},
    }  # fmt: skip
    return {"type": "object", "required": ["model_name", "outputs"], "properties": properties}


def metadata_schema() -> dict[str, Any]:
    """What a model says of itself."""
    described = {
        "type": "object", "required": ["name", "datatype", "shape"],
        "properties": {
            "name": {"type": "string"}, "datatype": _DATATYPE,
            "shape": {"type": "array", "items": {"type": "integer"}},
        },
    }  # fmt: skip
    columns = {"type": "array", "items": described}
    properties = {
        "name": {"type": "string"}, "platform": {"type": "string"}, "inputs": columns, "outputs": columns,
        "versions": {"type": "array", "items": {"type": "string"}},
    }  # fmt: skip
    return {"type": "object", "required": ["name", "inputs", "outputs"], "properties": properties}
