"""`/openapi.json` and `/docs`: what may be asked, in the model's own columns, classes, ranges and example.

OpenAPI 3.1: https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from infra.serving.http.access_control import OPEN_PATHS
from infra.serving.http.row_schemas import body_schema, error_schema, prediction_schema, row_schema
from infra.serving.http.tensor_schemas import infer_answer_schema, infer_body_schema, metadata_schema
from infra.serving.limits import RequestLimits
from infra.serving.model_schema import ModelSchema
from infra.serving.open_inference import datatype_of

JSON = "application/json"
MOST_EXAMPLE_BYTES = 64 * 1024  # an example's pixels would be most of the document
_REASONS = {
    "400": "the request is wrong; the reason says where",
    "401": "the token is missing",
    "403": "a wrong token, a foreign Host or Origin",
    "404": "there is no such path, model or version",
    "405": "not with that method",
    "408": "the body came too slowly",
    "413": "the body has too many bytes or rows",
    "415": "neither the type nor the encoding is read",
    "503": "no replica answers, or too much waits",
}
_WRONG_TENSORS = (
    "the request is wrong; the reason says where. So are tensors of the right form whose values are not as"
    " many as their shape says, whose rows are not as many as each other's, or that leave out a column"
)
_GET_ERRORS, _POST_ERRORS = ("401", "403", "405"), tuple(_REASONS)


def openapi_document(
    model: str, version: str | None, schema: ModelSchema | None, limits: RequestLimits, *, secured: bool
) -> dict[str, Any]:
    """What may be asked of the server, and what it answers.

    Args:
        version: the champion, whose columns these are.
        secured: whether a token is asked.
    """
    from importlib.metadata import version as version_of

    schema = schema or ModelSchema(fields=[])
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": model,
            "version": version or "none",
            "description": _describe(schema, limits),
            "x-velodrome": version_of("velodrome"),
        },
        "paths": _paths(model, schema),
        "components": {
            "schemas": {
                "Row": row_schema(schema),
                "Rows": body_schema(schema, limits),
                "Prediction": prediction_schema(schema),
                "Error": error_schema("error_code", "message"),
                "InferError": error_schema("error"),
                "InferRequest": infer_body_schema(schema),
                "InferAnswer": infer_answer_schema(),
                "ModelMetadata": metadata_schema(),
            }
        },
    }
    if secured:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
        for path in OPEN_PATHS:
            document["paths"][path]["get"]["security"] = []
    return document


def _describe(schema: ModelSchema, limits: RequestLimits) -> str:
    said = [
        f"Task: {schema.task}." if schema.task else "",
        f"Classes: {', '.join(schema.classes[:50])}." if schema.classes else "",
        f"At most {limits.rows:,} rows and {limits.body_bytes:,} bytes a request; gzip is read.",
    ]
    return " ".join(part for part in said if part)


def _paths(model: str, schema: ModelSchema) -> dict[str, Any]:
    name = _parameter("name", {"const": model})
    at_version = [name, _parameter("version", {"type": "string", "minLength": 1})]
    one, pinned = "/v2/models/{name}", "/v2/models/{name}/versions/{version}"
    invoke = _post("Predict rows, as MLflow's servers take them", "Rows", _ref_list(), _example(schema))
    infer = "Predict tensors, by the Open Inference Protocol"
    tensors = _tensor_example(schema)
    health = {"type": "object", "required": ["status"], "properties": {"status": {"type": "string"}}}
    paths: dict[str, Any] = {"/invocations": {"post": invoke}}
    for path, parameters in ((one, [name]), (pinned, at_version)):
        answer = {"$ref": "#/components/schemas/InferAnswer"}
        post = _post(infer, "InferRequest", answer, tensors, "InferError") | {"parameters": parameters}
        post["responses"]["400"]["description"] = _WRONG_TENSORS
        paths[f"{path}/infer"] = {"post": post}
        metadata = {"$ref": "#/components/schemas/ModelMetadata"}
        errors = ("404", "503", *_GET_ERRORS)
        paths[path] = {"get": _get("Columns as tensors", metadata, errors, parameters, "InferError")}
        ready = _get(
            "Whether it answers", {"type": "object"}, ("404", *_GET_ERRORS), parameters, "InferError"
        )
        paths[f"{path}/ready"] = {"get": _with_not_ready(ready, {"type": "object"})}
    for path in ("/health/live", "/v2/health/live"):
        paths[path] = {"get": _get("Whether the process lives", health)}
    for path in ("/health", "/ping"):
        paths[path] = {"get": _with_not_ready(_get("Whether a version is loaded", health), health)}
    for path in ("/health/ready", "/v2/health/ready"):
        paths[path] = {"get": _with_not_ready(_get("Whether requests should be sent here", health), health)}
    paths["/v2"] = {"get": _get("The server", {"type": "object"}, error="InferError")}
    paths["/version"] = {"get": _get("What answers, and what was refused", {"type": "object"})}
    paths["/metrics"] = {"get": _get("Figures for Prometheus", {"type": "string"}, kind="text/plain")}
    paths["/openapi.json"] = {"get": _get("This document", {"type": "object"})}
    paths["/docs"] = {"get": _get("This document for people", {"type": "string"}, kind="text/html")}
    return paths


def _parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _ref_list() -> dict[str, Any]:
    records = {"type": "array", "items": {"$ref": "#/components/schemas/Prediction"}}
    return {"type": "object", "required": ["predictions"], "properties": {"predictions": records}}


def _get(
    summary: str,
    answer: dict[str, Any],
    errors: Sequence[str] = _GET_ERRORS,
    parameters: Sequence[dict[str, Any]] = (),
    error: str = "Error",
    kind: str = JSON,
) -> dict[str, Any]:
    found = {"200": {"description": "the answer", "content": {kind: {"schema": answer}}}}
    return {
        "summary": summary,
        "parameters": list(parameters),
        "responses": {**found, **_errors(errors, error)},
    }


def _with_not_ready(operation: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    """With the answer of a probe that says no."""
    operation["responses"]["503"] = {"description": "no", "content": {JSON: {"schema": answer}}}
    return operation


def _post(
    summary: str, body: str, answer: dict[str, Any], example: Any, error: str = "Error"
) -> dict[str, Any]:
    media: dict[str, Any] = {"schema": {"$ref": f"#/components/schemas/{body}"}}
    if example is not None:
        media["example"] = example
    operation = _get(summary, answer, _POST_ERRORS, error=error)
    return operation | {"requestBody": {"required": True, "content": {JSON: media}}}


def _errors(statuses: Sequence[str], schema: str) -> dict[str, Any]:
    content = {JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    return {status: {"description": _REASONS[status], "content": content} for status in statuses}


def _example(schema: ModelSchema) -> Any:
    """The model's own example as a body; None where it has none, or a large one."""
    body = {"dataframe_records": schema.example}
    return body if schema.example and len(json.dumps(body)) <= MOST_EXAMPLE_BYTES else None


def _tensor_example(schema: ModelSchema) -> Any:
    known = {column.name: column for column in schema.fields}
    if _example(schema) is None or any(
        isinstance(value, list) or value is None for row in schema.example for value in row.values()
    ):
        return None
    rows = len(schema.example)
    return {
        "inputs": [
            {
                "name": name, "shape": [rows], "datatype": datatype_of(known[name]),
                "data": [row[name] for row in schema.example],
            }
            for name in schema.example[0] if name in known
        ]
    }  # fmt: skip


def docs_page(document: dict[str, Any]) -> str:
    """The document for people: one page that loads nothing from elsewhere and runs nothing."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("infra.serving.http", "."), autoescape=True)
    environment.filters["shown"] = lambda value: json.dumps(value, indent=1, ensure_ascii=False)
    return environment.get_template("docs.html.j2").render(document=document)
