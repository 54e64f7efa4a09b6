"""JSON schemas of the Open Inference Protocol's bodies."""

from __future__ import annotations

from typing import Any

from infra.serving.model_schema import ModelSchema
from infra.serving.open_inference import DATATYPES

_SHAPE = {"type": "array", "minItems": 1, "maxItems": 8, "items": {"type": "integer", "minimum": 1}}
_DATATYPE = {"type": "string", "enum": list(DATATYPES)}


def _tensor(names: list[str] | None = None) -> dict[str, Any]:
    name: dict[str, Any] = {"type": "string", "minLength": 1}
    if names:
        name["description"] = f"a column: {', '.join(names[:100])}"
    return {
        "type": "object",
        "required": ["name", "shape", "datatype", "data"],
        "properties": {
            "name": name, "shape": _SHAPE, "datatype": _DATATYPE, "data": {"type": "array", "minItems": 1},
            "parameters": {"type": "object"},
        },
    }  # fmt: skip


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
