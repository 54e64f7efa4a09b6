"""The Open Inference Protocol (V2), which KServe, Triton, Seldon and MLServer speak: tensors by name.

A column of the model is a tensor of that name whose first dimension is the rows. Bodies:
https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, TypeGuard

from infra.serving.limits import RequestLimits, ScoringError, bad_request
from infra.serving.model_schema import Field, ModelSchema
from infra.serving.scoring_protocol import Columns, RequestRows, check_rows, kind_name, parse_json
from trainers.types import Document, Json, JsonObject

INTEGERS = tuple(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))
FRACTIONS = ("FP16", "FP32", "FP64", "BF16")
BOUNDS = {
    **{f"INT{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)},
    "FP16": (-65504, 65504),
}
"""What a tensor's type can hold; the others hold all that a column may."""
DATATYPES = ("BOOL", *INTEGERS, *FRACTIONS, "BYTES")
_DATATYPE_OF = {"double": "FP64", "long": "INT64", "boolean": "BOOL", "string": "BYTES", "any": "BYTES"}


def datatype_of(column: Field) -> str:
    """The protocol's type for a column; an image is base64, or a tensor of numbers."""
    return _DATATYPE_OF.get(column.type, "BYTES")


def describe_tensors(columns: Sequence[Field]) -> list[JsonObject]:
    """The columns as the metadata of a model has them."""
    return [{"name": c.name, "datatype": datatype_of(c), "shape": [-1]} for c in columns]


def read_request(body: bytes, limits: RequestLimits) -> Document:
    """A request to infer, with its outer form checked; keys beside the protocol's, as clients add them, are
    passed over.

    Raises:
        ScoringError: 400, with what is wrong.
    """
    document = parse_json(body, limits)
    if not isinstance(document, dict):
        raise bad_request(f"the body must be a JSON object, but got {kind_name(document)}")
    if not isinstance(document.get("id", ""), str):
        raise bad_request(f"id must be a string, but got {kind_name(document['id'])}")
    if not isinstance(document.get("parameters", {}), dict):
        raise bad_request(f"parameters must be an object, but got {kind_name(document['parameters'])}")
    inputs = document.get("inputs")
    if not _is_objects(inputs) or not inputs:
        raise bad_request("inputs must be a list of tensors, one at least")
    if not _is_objects(document.get("outputs", [])):
        raise bad_request("outputs must be a list of objects with a name")
    return document


def read_tensor_rows(document: Document, fields: Sequence[Field], limits: RequestLimits) -> RequestRows:
    """The rows in a request's tensors.

    Args:
        document: of `read_request`.
        fields: what the model takes.
    """
    tensors: Columns = {}
    for tensor in document["inputs"]:
        name, rows = _read_tensor(tensor)
        if name in tensors:
            raise bad_request(f"inputs must name each tensor once, but {name!r} stands there twice")
        tensors[name] = rows
    names = [column.name for column in fields]
    if len(tensors) == 1 and len(fields) > 1 and not tensors.keys() & set(names):
        tensors = _split_matrix(*tensors.popitem(), names)
    return check_rows(tensors, fields, limits)


def _read_tensor(tensor: Document) -> tuple[str, list[Any]]:
    """A tensor's name and its rows: values, or nested lists where a row has more than one."""
    name = tensor.get("name")
    if not isinstance(name, str) or not name:
        raise bad_request("each tensor of inputs must have a name")
    where = f"input {ascii(name)[:60]}"
    if not isinstance(tensor.get("parameters", {}), dict):
        raise bad_request(f"parameters of {where} must be an object")
    shape, datatype, data = tensor.get("shape"), tensor.get("datatype"), tensor.get("data")
    if datatype not in DATATYPES:
        raise bad_request(
            f"datatype of {where} must be one of {_join(DATATYPES)}, but got {ascii(datatype)[:40]}"
        )
    if not _is_shape(shape):
        raise bad_request(f"shape of {where} must be a list of whole numbers, 1 at least")
    if not isinstance(data, list):
        raise bad_request(f"data of {where} must be a list: binary tensors are not read, send them as JSON")
    flat = _flatten(data)
    if len(flat) != math.prod(shape):
        raise bad_request(f"{where} must have as many values as its shape {shape}, but got {len(flat)}")
    _check_datatype(flat, datatype, where)
    while len(shape) > 1 and shape[-1] == 1:
        shape = shape[:-1]
    return name, _nest(flat, shape)


def _is_shape(shape: Json) -> TypeGuard[list[int]]:
    return (
        isinstance(shape, list)
        and 0 < len(shape) <= 8
        and all(type(side) is int and 0 < side <= 2**31 for side in shape)
    )


def _is_objects(given: Json) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(given, list) and all(isinstance(entry, dict) for entry in given)


def _flatten(data: list[Any]) -> list[Any]:
    """Row-major values; nested lists are allowed by the protocol."""
    while any(isinstance(value, list) for value in data):
        if not all(isinstance(value, list) for value in data):
            raise bad_request("data must be values, or lists of one depth")
        data = [value for inner in data for value in inner]
    return data


def _nest(flat: list[Any], shape: Sequence[int]) -> list[Any]:
    """The opposite of `_flatten`."""
    for side in reversed(shape[1:]):
        flat = [flat[start : start + side] for start in range(0, len(flat), side)]
    return flat


def _check_datatype(values: list[Any], datatype: str, where: str) -> None:
    if datatype == "BYTES":
        fits = all(isinstance(value, str) for value in values)
    elif datatype == "BOOL":
        fits = all(isinstance(value, bool) for value in values)
    else:
        fits = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
        if fits and datatype in INTEGERS:
            fits = all(isinstance(value, int) or value.is_integer() for value in values)
    low, high = BOUNDS.get(datatype, (-math.inf, math.inf))
    if not fits or (datatype in BOUNDS and not all(low <= value <= high for value in values)):
        raise bad_request(f"data of {where} must be of its datatype {datatype}")


def _split_matrix(name: str, rows: list[Any], columns: Sequence[str]) -> Columns:
    """One tensor [rows, columns] for all columns in their order, as clients of matrices send it."""
    if not all(isinstance(row, list) and len(row) == len(columns) for row in rows):
        raise bad_request(
            f"inputs must be the model's columns, or one tensor of {len(columns)} values a row, but got "
            f"{ascii(name)[:60]}"
        )
    return {column: [row[at] for row in rows] for at, column in enumerate(columns)}


def write_response(
    content: bytes, document: Document, model: str, version: str, schema: ModelSchema | None
) -> bytes:
    """An answer's records as tensors.

    Args:
        content: a JSON list of records.
        document: the request: its `id` is given back, and its `outputs` choose.

    Raises:
        ScoringError: 400 for an output that the model does not give.
    """
    records = json.loads(content)
    names = list(records[0])
    wanted = [output.get("name") for output in document.get("outputs", [])] or names
    if unknown := [str(name) for name in wanted if name not in names]:
        raise bad_request(f"outputs must be among {_join(names)}, but got {_join(unknown)}")
    known = {} if schema is None else {column.name: datatype_of(column) for column in schema.outputs}
    outputs = []
    for name in dict.fromkeys(wanted):
        values = [record[name] for record in records]
        outputs.append(
            {
                "name": name,
                "datatype": known.get(name) or _guess_datatype(values),
                "shape": [len(values)],
                "data": values,
            }
        )
    answer = {"model_name": model, "model_version": version, "outputs": outputs}
    if "id" in document:
        answer["id"] = document["id"]
    return json.dumps(answer, ensure_ascii=False).encode()


def _guess_datatype(values: list[Any]) -> str:
    if all(isinstance(value, bool) for value in values):
        return "BOOL"
    if all(isinstance(value, int) for value in values):
        return "INT64"
    return "FP64" if all(isinstance(value, (int, float)) for value in values) else "BYTES"


def refuse_binary(headers: Any) -> None:
    """Refuses the binary extension, which this server does not read.

    Raises:
        ScoringError: 415.
    """
    if "inference-header-content-length" in headers:
        raise ScoringError(415, "tensors must be JSON: the binary extension is not read")


def _join(names: Any) -> str:
    return ", ".join(ascii(name)[1:-1][:40] for name in sorted(names, key=str)[:16])
