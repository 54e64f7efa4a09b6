"""`/openapi.json` against what the server does: what its schemas allow is answered, and as they say."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.serving.http.access_control import OPEN_PATHS, AccessControl
from infra.serving.http.row_schemas import row_schema
from infra.serving.limits import RequestLimits
from infra.serving.model_schema import Field, ModelSchema
from tests.infra.serving.local_server import OneBundle
from tests.infra.serving.registry_with_models import RegistryFixture, a_bundle
from tests.infra.serving.scripted_server import LocalScorer, Server, run

FOUND = (200, 400, 413, 415)


@pytest.fixture(scope="module")
def answering(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Server:
    """A real model behind an application, in its module's own registry."""
    registered = RegistryFixture(tmp_path_factory.mktemp("documents"))
    registered.add("m", bundle, alias="champion")
    server = Server(LocalScorer(), registered.source, limits=RequestLimits(rows=4))
    asyncio.run(server.follower.poll_once())
    return server


def document_of(server: Server, **headers: str) -> Any:
    """The server's own document."""
    return asyncio.run(server.ask(method="GET", path="/openapi.json", headers=headers)).json


def validator(document: Any, schema: Any) -> jsonschema.Draft202012Validator:
    """Of a schema within the document."""
    return jsonschema.Draft202012Validator({**schema, "components": document["components"]})


def test_document_has_the_models_columns_ranges_and_example(answering: Server) -> None:
    document = document_of(answering)
    row = document["components"]["schemas"]["Row"]
    age = row["properties"]["age"]
    assert age["type"] == ["number", "null"]
    assert age["x-training"] == {"of": "value", "least": 19.0, "most": 79.0, "missing": 0.0}
    assert document["info"]["version"] == "m/1"
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for path in ("/invocations", "/v2/models/{name}/infer"):
        media = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        validator(document, media["schema"]).validate(media["example"])
        reply = asyncio.run(answering.ask(media["example"], path=path.replace("{name}", "m")))
        assert reply.status == 200
        answer = document["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
        validator(document, answer).validate(reply.json)


def test_documented_path_is_answered_as_documented(answering: Server) -> None:
    document = document_of(answering)
    for path, operations in document["paths"].items():
        asked = path.replace("{name}", "m").replace("{version}", "1")
        for method, operation in operations.items():
            reply = asyncio.run(answering.ask({}, method=method.upper(), path=asked))
            content = operation["responses"][str(reply.status)]["content"]
            kind = reply.headers["content-type"].partition(";")[0]
            if kind == "application/json":
                validator(document, content[kind]["schema"]).validate(reply.json)
            assert kind in content


def test_schema_of_classes_texts_and_images_says_what_is_taken() -> None:
    async def story() -> None:
        server = Server()
        await server.follower.poll_once()
        server.follower.standing.schemas["m/1"] = ModelSchema(
            fields=[Field(name="image", type="any")], outputs=[Field(name="label", type="string")],
            classes=["a", "b"], task="classification",
        )  # fmt: skip
        document = (await server.ask(method="GET", path="/openapi.json")).json
        schemas = document["components"]["schemas"]
        assert schemas["Prediction"]["properties"]["label"]["enum"] == ["a", "b"]
        assert "0 to 255" in schemas["Row"]["properties"]["image"]["description"]
        assert "a, b" in document["info"]["description"]
        server.follower.standing.schemas["m/1"] = ModelSchema(fields=[])
        document = (await server.ask(method="GET", path="/openapi.json")).json
        jsonschema.Draft202012Validator.check_schema(document["components"]["schemas"]["Rows"])

    run(story)


@pytest.mark.parametrize(("left_out", "allowed"), [((0,), True), ((0, 1), False)])
def test_column_may_be_missing_in_rows_but_not_in_all(
    answering: Server, left_out: tuple[int, ...], allowed: bool
) -> None:
    document = document_of(answering)
    rows = document["paths"]["/invocations"]["post"]["requestBody"]["content"]["application/json"]["example"]
    for place in left_out:
        del rows["dataframe_records"][place]["bmi"]
    assert validator(document, document["components"]["schemas"]["Rows"]).is_valid(rows) is allowed
    assert asyncio.run(answering.ask(rows)).status == (200 if allowed else 400)


@pytest.fixture(scope="module")
def of_one_column(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Server]:
    """Models of a text and of an image behind applications."""
    folder = tmp_path_factory.mktemp("of-one-column")
    servers = {}
    for family in ("text_cnn", "image_cnn"):
        bundle = a_bundle(family, folder / family, folder / "cache")
        servers[family] = Server(LocalScorer(), OneBundle(bundle))
        asyncio.run(servers[family].follower.poll_once())
    return servers


@pytest.mark.parametrize(
    ("family", "values", "allowed"),
    [
        ("text_cnn", [None, "a good book"], True),
        ("text_cnn", [{}, "a good book"], True),  # an object among others is a value like any
        ("text_cnn", [{}, {"word": 1}], False),  # objects alone are rows, and none has the column
        ("text_cnn", [{}, {"text": 1}], True),
        ("image_cnn", [[[0, 255], [True, 0.0]]], True),
        ("image_cnn", [[[[0], [255]]]], True),
        ("image_cnn", [[[None, 1]]], False),
        ("image_cnn", [[["1", 1]]], False),
        ("image_cnn", [[[[-1], [255]]]], False),
        ("image_cnn", [[[1, 256]]], False),
        ("image_cnn", [[1, 2]], False),
    ],
)
def test_values_of_the_only_column_are_answered_as_documented(
    of_one_column: dict[str, Server], family: str, values: list[Any], allowed: bool
) -> None:
    server = of_one_column[family]
    document = document_of(server)
    for name in ("inputs", "instances"):
        body = {name: values}
        assert validator(document, document["components"]["schemas"]["Rows"]).is_valid(body) is allowed
        assert asyncio.run(server.ask(body)).status == (200 if allowed else 400)


def test_column_of_anything_is_no_image() -> None:
    schema = ModelSchema(fields=[Field(name="words", type="any"), Field(name="image", type="any")])
    properties = row_schema(schema)["properties"]
    assert properties["words"] == {}
    assert "image" in properties["image"]["description"]


@pytest.mark.parametrize(
    ("datatype", "data", "allowed"),
    [
        ("UINT8", [255], True),
        ("UINT8", [256], False),
        ("INT8", [-129], False),
        ("FP16", [-65504.5], False),
        ("INT64", [1.5], False),
        ("FP64", ["1"], False),
        ("FP32", [[1.5]], True),
        ("BOOL", [1], False),
    ],
)
def test_schema_of_tensors_knows_what_their_datatypes_hold(
    datatype: str, data: list[Any], allowed: bool
) -> None:
    async def story() -> None:
        server = Server()
        await server.follower.poll_once()
        body = {"inputs": [{"name": "x", "shape": [1], "datatype": datatype, "data": data}]}
        document = (await server.ask(method="GET", path="/openapi.json")).json
        schema = document["components"]["schemas"]["InferRequest"]
        assert validator(document, schema).is_valid(body) is allowed
        assert (await server.ask(body, path="/v2/models/m/infer")).status == (200 if allowed else 400)

    run(story)


def test_token_is_in_the_document_and_probes_need_none() -> None:
    server = Server(admission=AccessControl(token="0123456789abcdef"))
    document = document_of(server, authorization="Bearer 0123456789abcdef")
    assert document["security"] == [{"token": []}]
    without = {
        path for path, found in document["paths"].items() if found.get("get", {}).get("security") == []
    }
    assert without == OPEN_PATHS
    for path in OPEN_PATHS:
        assert asyncio.run(server.ask(method="GET", path=path)).status in (200, 503)


def test_page_for_people_shows_the_columns_and_loads_nothing(answering: Server) -> None:
    page = asyncio.run(answering.ask(method="GET", path="/docs")).body.decode()
    assert "<code>bmi</code>" in page
    assert "curl" in page
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//|<script|@import""", page)


def test_page_cannot_be_made_to_run_what_a_column_is_named() -> None:
    async def story() -> None:
        server = Server()
        await server.follower.poll_once()
        evil = "<script>alert(1)</script>"
        fields = [Field(name=evil, type="double")]
        server.follower.standing.schemas["m/1"] = ModelSchema(fields=fields, example=[{evil: 1.0}])
        page = (await server.ask(method="GET", path="/docs")).body.decode()
        assert "<script" not in page

    run(story)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
NUMBER = st.none() | st.floats(min_value=-1e30, max_value=1e30) | st.integers(-(10**30), 10**30)
NAMES = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")
ROW = st.fixed_dictionaries(dict.fromkeys(NAMES, NUMBER | JSON))
LISTED = st.lists(NUMBER, min_size=9, max_size=11)
BODY = st.one_of(
    st.fixed_dictionaries({"dataframe_records": st.lists(ROW, max_size=5)}),
    st.fixed_dictionaries({"instances": st.lists(ROW | LISTED, max_size=3)}),
    st.fixed_dictionaries(
        {"dataframe_split": st.fixed_dictionaries({"columns": st.just(NAMES), "data": st.lists(LISTED)})}
    ),
    st.dictionaries(st.sampled_from(("inputs", "instances", "params", "x")), JSON),
    JSON,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=BODY)
def test_request_that_the_schema_allows_is_answered_and_others_refused_in_words(
    answering: Server, body: Any
) -> None:
    document = document_of(answering)
    allowed = validator(document, document["components"]["schemas"]["Rows"]).is_valid(
        json.loads(json.dumps(body))
    )
    reply = asyncio.run(answering.ask(json.dumps(body).encode()))
    assert reply.status in FOUND
    responses = document["paths"]["/invocations"]["post"]["responses"]
    answer = responses[str(reply.status)]["content"]["application/json"]["schema"]
    validator(document, answer).validate(reply.json)
    assert not allowed or reply.status == 200 or "not a finite number" in reply.json["message"]
