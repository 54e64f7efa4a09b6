"""JSON schemas of rows and predictions, made of what a version takes and gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.serving.column_values import LARGEST
from infra.serving.limits import RequestLimits
from infra.serving.model_schema import SPELT, Field, ModelSchema

_NUMBER = {"minimum": -LARGEST, "maximum": LARGEST}
_PIXEL = {"type": ["number", "boolean"], "minimum": 0, "maximum": 255}


def _list_of(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "minItems": 1, "items": items}


_TYPES: dict[str, dict[str, Any]] = {
    "double": {"type": ["number", "null"], **_NUMBER},
    "long": {"type": ["integer", "null"], **_NUMBER},
    "boolean": {"type": ["boolean", "null"]},
    "string": {"type": ["string", "number", "boolean", "array", "object", "null"]},
    SPELT: {"type": ["number", "string", "null"], **_NUMBER},
    "image": {
        "description": "an image: its file in base64, or nested lists [H][W] or [H][W][C] of numbers from 0"
        " to 255, or from 0 to 1; lists of nothing but 0 and 1 are black and white. Never a path.",
        "anyOf": [
            {"type": "string", "contentEncoding": "base64", "minLength": 1},
            _list_of(_list_of(_PIXEL)),
            _list_of(_list_of(_list_of(_PIXEL))),
        ],
    },
}
_TYPES["audio"] = {
    "description": "a clip of sound: its file (wav, flac, ogg) in base64. Never a path.",
    "type": "string", "contentEncoding": "base64", "minLength": 1,
}  # fmt: skip
_GIVEN: dict[str, dict[str, Any]] = {
    "double": {"type": "number"}, "long": {"type": "integer"}, "boolean": {"type": "boolean"},
    "string": {"type": "string"},
}  # fmt: skip


def row_schema(schema: ModelSchema) -> dict[str, Any]:
    """A row by its columns; columns that the model does not take are passed over, and one that other rows of
    the request have is missing in a row without it."""
    properties = {column.name: _column_schema(column, schema.distribution) for column in schema.fields}
    return {"type": "object", "properties": properties}


def _rows_schema(schema: ModelSchema, limits: RequestLimits) -> dict[str, Any]:
    """Rows of which each column stands in one at least."""
    held = [{"contains": {"type": "object", "required": [column.name]}} for column in schema.fields]
    row = {"$ref": "#/components/schemas/Row"}
    rows: dict[str, Any] = {"type": "array", "items": row, "minItems": 1, "maxItems": limits.rows}
    return {**rows, "allOf": held} if held else rows


def _column_schema(column: Field, distribution: Mapping[str, Any]) -> dict[str, Any]:
    known = distribution.get(column.name)
    plain = dict(_TYPES.get("image" if (column.type, column.name) == ("any", "image") else column.type, {}))
    if not isinstance(known, Mapping):
        return plain
    plain["x-training"] = training_range(known)
    return plain


def training_range(known: Mapping[str, Any]) -> dict[str, Any]:
    """What training saw of a column: the range of numbers, the commonest categories, the share that is
    missing."""
    if known["kind"] == "category":
        return {"commonest": list(known["values"])[:20], "missing": known["missing"]}
    what = {"text": "characters", "image": "mean brightness", "audio": "loudness in dB"}.get(
        known["kind"], "value"
    )
    return {"of": what, "least": known["least"], "most": known["most"], "missing": known["missing"]}


def prediction_schema(schema: ModelSchema) -> dict[str, Any]:
    """What is given for a row."""
    properties = {column.name: dict(_GIVEN.get(column.type, {})) for column in schema.outputs}
    if "label" in properties and schema.classes:
        properties["label"]["enum"] = schema.classes
    return {"type": "object", "properties": properties, "required": list(properties)}


def body_schema(schema: ModelSchema, limits: RequestLimits) -> dict[str, Any]:
    """A body of `/invocations`: one of MLflow's formats."""
    count = {"minItems": 1, "maxItems": limits.rows}
    rows = _rows_schema(schema, limits)
    formats: dict[str, dict[str, Any]] = {"dataframe_records": rows}
    if schema.fields:
        names = [column.name for column in schema.fields]
        columns = [_column_schema(column, schema.distribution) for column in schema.fields]
        values = {"type": "array", "prefixItems": columns, "items": False, "minItems": len(names)}
        values["maxItems"] = len(names)
        formats["dataframe_split"] = {
            "type": "object",
            "required": ["columns", "data"],
            "properties": {"columns": {"const": names}, "data": {"type": "array", "items": values, **count}},
            "additionalProperties": False,
        }
        # objects alone are rows by their columns, whatever the only column may hold
        unnamed = {"type": "array", "items": columns[0] if len(names) == 1 else values, **count}
        formats["instances"] = {"anyOf": [rows, {**unnamed, "contains": {"not": {"type": "object"}}}]}
        formats["inputs"] = formats["instances"]
    else:
        formats |= {name: {} for name in ("dataframe_split", "instances", "inputs")}
    return {
        "oneOf": [
            {
                "type": "object", "title": name, "required": [name], "additionalProperties": False,
                "properties": {name: content, "params": {"type": "object"}},
            }
            for name, content in formats.items()
        ]
    }  # fmt: skip


def error_schema(*keys: str) -> dict[str, Any]:
    """An error, in so many words."""
    return {"type": "object", "required": list(keys), "properties": {key: {"type": "string"} for key in keys}}
