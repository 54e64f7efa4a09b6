"""The Open Inference Protocol: tensors in and out, metadata, and what is wrong with a request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.serving.artifact import load_artifact, read_artifact
from infra.serving.limits import RequestLimits, ScoringError
from infra.serving.model_schema import Field
from infra.serving.open_inference import read_request, read_tensor_rows
from infra.serving.routing import CanaryRule
from tests.infra.serving.registry_with_models import RegistryFixture, answers
from tests.infra.serving.scripted_server import Aliases, LocalScorer, Server, run

LIMITS = RequestLimits()
INFER = "/v2/models/m/infer"


def tensor(data: Any, *, name: str = "x", shape: list[int] | None = None, datatype: str = "FP64") -> Any:
    """One tensor of a request."""
    return {"name": name, "shape": shape or [len(data)], "datatype": datatype, "data": data}


def columns_of(*tensors: Any, fields: list[Field]) -> dict[str, list[Any]]:
    """The columns that tensors come to."""
    document = read_request(json.dumps({"inputs": list(tensors)}).encode(), LIMITS)
    return read_tensor_rows(document, fields, LIMITS).columns


def test_tensors_are_answered_as_the_model_answers_rows(registered: RegistryFixture, bundle: Path) -> None:
    async def story() -> None:
        registered.add("m", bundle, alias="champion")
        server = Server(LocalScorer(), registered.source)
        await server.follower.poll_once()
        rows = load_artifact(read_artifact("m/1", bundle)).example
        want = [record["prediction"] for record in answers(bundle)]
        columns = [tensor(rows[name].tolist(), name=str(name)) for name in rows.columns]
        matrix = tensor(rows.to_numpy(float).ravel().tolist(), name="any", shape=list(rows.shape))
        for inputs in (columns, [matrix]):
            body = {"id": "7", "inputs": inputs, "model_name": "m", "outputs": [{"name": "prediction"}]}
            reply = await server.ask(body, path=INFER)
            assert reply.status == 200, reply.body
            assert reply.headers["x-velodrome-version"] == "m/1"
            (output,) = reply.json["outputs"]
            assert output == {
                "name": "prediction", "datatype": "FP64", "shape": [2], "data": pytest.approx(want)
            }  # fmt: skip
            assert (reply.json["model_name"], reply.json["model_version"], reply.json["id"]) == (
                "m",
                "1",
                "7",
            )
        metadata = (await server.ask(method="GET", path="/v2/models/m")).json
        assert [t["name"] for t in metadata["inputs"]] == list(rows.columns)
        assert metadata["versions"] == ["1"]

    run(story)


def test_image_tensor_has_the_shape_of_its_rows() -> None:
    fields = [Field(name="image", type="any")]
    images = [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
    flat = tensor(list(range(8)), name="image", shape=[2, 2, 2, 1], datatype="UINT8")
    assert columns_of(flat, fields=fields) == {"image": images}
    assert columns_of(flat | {"data": images}, fields=fields) == {"image": images}
    column = tensor([1.0, 2.0], shape=[2, 1])
    assert columns_of(column, fields=[Field(name="x", type="double")]) == {"x": [1.0, 2.0]}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ([], "must be a JSON object"),
        ({}, "inputs must be a list"),
        ({"inputs": []}, "one at least"),
        ({"inputs": [1]}, "inputs must be a list"),
        ({"inputs": [tensor([1.0])], "id": 7}, "id must be a string"),
        ({"inputs": [tensor([1.0])], "parameters": []}, "parameters must be an object"),
        ({"inputs": [tensor([1.0])], "outputs": "x"}, "outputs must be a list"),
        ({"inputs": [tensor([1.0])], "outputs": [{"name": "y"}]}, "outputs must be among prediction"),
        ({"inputs": [tensor([1.0], name="")]}, "must have a name"),
        ({"inputs": [tensor([1.0]), tensor([1.0])]}, "stands there twice"),
        ({"inputs": [tensor([1.0], datatype="FLOAT")]}, "datatype of input 'x'"),
        ({"inputs": [tensor([1.0], shape=[-1])]}, "shape of input 'x'"),
        ({"inputs": [tensor([1.0], shape=[True])]}, "shape of input 'x'"),
        ({"inputs": [tensor([1.0], shape=[2])]}, "as many values as its shape"),
        ({"inputs": [tensor([1.0, 2.0], shape=[2**31, 2**31])]}, "as many values as its shape"),
        ({"inputs": [tensor([[1.0], 2.0])]}, "lists of one depth"),
        ({"inputs": [tensor(["1"])]}, "of its datatype FP64"),
        ({"inputs": [tensor([True])]}, "of its datatype FP64"),
        ({"inputs": [tensor([1.5], datatype="INT64")]}, "of its datatype INT64"),
        ({"inputs": [tensor([128], datatype="INT8")]}, "of its datatype INT8"),
        ({"inputs": [tensor([-1], datatype="UINT8")]}, "of its datatype UINT8"),
        ({"inputs": [tensor([2**64], datatype="UINT64")]}, "of its datatype UINT64"),
        ({"inputs": [tensor([1e5], datatype="FP16")]}, "of its datatype FP16"),
        (b'{"inputs": [{"name": "x", "shape": [2], "shape": [1]}]}', "each key once, but 'shape'"),
        ({"inputs": [{"name": "x", "shape": [1], "datatype": "FP64"}]}, "binary tensors are not read"),
        ({"inputs": [tensor([1.0], name="y")]}, "'x' is missing"),
        ({"inputs": [tensor([1e31])]}, "at most 1e+30"),
    ],
)
def test_wrong_request_is_400_with_the_protocols_error(body: Any, says: str) -> None:
    async def story() -> None:
        server = Server()
        await server.follower.poll_once()
        reply = await server.ask(body, path=INFER)
        assert reply.status == 400
        assert list(reply.json) == ["error"]
        assert says in reply.json["error"]

    run(story)


def test_matrix_of_another_width_is_refused() -> None:
    fields = [Field(name=name, type="double") for name in "abc"]
    with pytest.raises(ScoringError, match="3 values a row"):
        columns_of(tensor([1.0, 2.0], name="m", shape=[1, 2]), fields=fields)


def test_version_in_the_path_is_the_one_that_answers_and_others_are_404() -> None:
    async def story() -> None:
        aliases = Aliases({"champion": "m/1", "challenger": "m/2"})
        server = Server(aliases=aliases, canary=CanaryRule(percent=0))
        await server.follower.poll_once()
        body = {"inputs": [tensor([3.0])]}
        for version, want in (("1", 3.0), ("2", 6.0)):
            reply = await server.ask(body, path=f"/v2/models/m/versions/{version}/infer")
            assert reply.json["outputs"][0]["data"] == [want]
            assert reply.json["model_version"] == version
        for path in ("/v2/models/m/versions/3/infer", "/v2/models/other/infer"):
            assert (await server.ask(body, path=path)).status == 404
        for path, status in (("/v2/models/m/ready", 200), ("/v2/models/m/versions/9/ready", 404)):
            assert (await server.ask(method="GET", path=path)).status == status

    run(story)


@pytest.mark.parametrize(
    ("datatype", "value"), [("INT8", -128), ("UINT8", 255), ("UINT64", 2**64 - 1), ("FP16", -65504.0)]
)
def test_tensor_holds_all_that_its_datatype_can(datatype: str, value: float) -> None:
    fields = [Field(name="x", type="double")]
    assert columns_of(tensor([value], datatype=datatype), fields=fields) == {"x": [float(value)]}


@pytest.mark.parametrize(
    ("kind", "status"),
    [("", 200), ("application/json; charset=utf-8", 200), ("text/csv", 415), ("text/plain", 415)],
)
def test_tensors_come_as_json_alone(kind: str, status: int) -> None:
    async def story() -> None:
        server = Server()
        await server.follower.poll_once()
        reply = await server.ask({"inputs": [tensor([1.0])]}, path=INFER, headers={"content-type": kind})
        assert reply.status == status

    run(story)


def test_binary_tensors_are_415() -> None:
    async def story() -> None:
        server = Server()
        await server.follower.poll_once()
        reply = await server.ask(b"{}", path=INFER, headers={"inference-header-content-length": "2"})
        assert reply.status == 415

    run(story)
