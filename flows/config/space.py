"""The JSON schema of a search space, for editors; `search_spaces` does the checking."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue


_WHEN = {
    "type": "object",
    "description": "The parameter is there only when these others have one of these values.",
}


def _range(kind: str, number: str) -> JsonSchemaValue:
    properties = {
        "type": {"const": kind},
        "low": {"type": number, "description": "Smallest value."},
        "high": {"type": number, "description": "Largest value."},
        "log": {"type": "boolean", "description": "Even on a logarithmic scale."},
        "step": {"type": number, "exclusiveMinimum": 0, "description": "Only whole steps from low."},
        "points": {"type": "integer", "minimum": 2, "description": "How many values the sampler grid takes."},
        "values": {"type": "array", "minItems": 1, "description": "The values that the sampler grid takes."},
        "when": _WHEN,
    }
    return _object(properties, ["type", "low", "high"])


def _object(properties: JsonSchemaValue, required: list[str]) -> JsonSchemaValue:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


_CATEGORICAL = {
    "type": {"const": "categorical"},
    "choices": {"type": "array", "minItems": 1, "description": "Values of any type, lists too."},
    "when": _WHEN,
}
_CONSTANT = {
    "type": ["string", "number", "boolean", "null", "array"],
    "description": "A constant, not searched.",
}

SPACE_DEFINITIONS: JsonSchemaValue = {
    "Parameter": {
        "anyOf": [
            _range("float", "number"),
            _range("int", "integer"),
            _object(_CATEGORICAL, ["type", "choices"]),
            _CONSTANT,
        ]
    },
    "Space": {
        "type": "object",
        "properties": {
            "extends": {
                "type": "string",
                "description": "A name in search_spaces/, or a path, to start from.",
            }
        },
        "additionalProperties": {"$ref": "#/$defs/Parameter"},
    },
}

SPACE_REFERENCE: JsonSchemaValue = {
    "anyOf": [{"type": "string"}, {"$ref": "#/$defs/Space"}, {"type": "null"}],
    "default": None,
}
