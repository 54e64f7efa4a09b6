"""The client that the Open Inference Protocol's own working group makes of its OpenAPI document."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from open_inference.openapi import (
    BadRequestError,
    InferenceRequest,
    NotFoundError,
    RequestInput,
    RequestOutput,
    ServiceUnavailableError,
    TensorData,
)
from open_inference.openapi.client import AsyncOpenInferenceClient
from open_inference.openapi.core.api_error import ApiError

from tests.infra.serving.local_server import OneBundle
from tests.infra.serving.registry_with_models import answers
from tests.infra.serving.scripted_server import LocalScorer, Server, run
from tests.infra.tracking.bundles import a_bundle
from trainers.bundle.bundle import load_bundle


def client_of(server: Server) -> AsyncOpenInferenceClient:
    """A client whose requests the server's application gets."""
    transport = httpx.ASGITransport(app=server.app)
    asked = httpx.AsyncClient(transport=transport, base_url="http://localhost")
    return AsyncOpenInferenceClient(base_url="http://localhost", httpx_client=asked)


def tensor(name: str, datatype: str, data: Sequence[Any], shape: list[int] | None = None) -> RequestInput:
    """One input as the client sends it."""
    values = TensorData(__root__=list(data))
    return RequestInput(name=name, shape=shape or [len(data)], datatype=datatype, data=values)


def values_of(outputs: Sequence[Any]) -> dict[str, list[Any]]:
    """Each output's values, whose shape must be theirs."""
    found = {output.name: output.data.__root__ for output in outputs}
    assert [output.shape for output in outputs] == [[len(values)] for values in found.values()]
    return found


async def infer_all(client: AsyncOpenInferenceClient, rows: Any) -> dict[str, list[Any]]:
    """The answers to a frame, sent by the names and types that the model's metadata have."""
    metadata = await client.read_model_metadata("m")
    assert metadata.inputs
    inputs = [tensor(known.name, known.datatype, rows[known.name].tolist()) for known in metadata.inputs]
    answer = await client.model_infer("m", request=InferenceRequest(id="7", inputs=inputs))
    assert (answer.model_name, answer.model_version, answer.id) == ("m", "1", "7")
    assert {(out.name, out.datatype) for out in answer.outputs} == {
        (known.name, known.datatype) for known in metadata.outputs or ()
    }
    return values_of(answer.outputs)


def test_client_gets_the_answers_of_a_table_model(bundle: Path) -> None:
    async def story() -> None:
        server = Server(LocalScorer(), OneBundle(bundle))
        client = client_of(server)
        with pytest.raises(ServiceUnavailableError):
            await client.check_server_readiness()
        await server.follower.poll_once()
        await client.check_server_liveness()
        await client.check_server_readiness()
        await client.check_model_readiness("m")
        await client.check_model_version_readiness("m", "1")
        assert (await client.read_server_metadata()).name == "velodrome"
        rows = load_bundle(bundle).example
        want = [record["prediction"] for record in answers(bundle)]
        assert (await infer_all(client, rows))["prediction"] == pytest.approx(want)
        matrix = tensor("any", "FP64", rows.to_numpy(float).ravel().tolist(), list(rows.shape))
        request = InferenceRequest(inputs=[matrix], outputs=[RequestOutput(name="prediction")])
        answer = await client.model_version_infer("m", "1", request=request)
        assert values_of(answer.outputs) == {"prediction": pytest.approx(want)}

    run(story)


def test_client_gets_the_answers_of_a_text_model(tmp_path: Path) -> None:
    bundle = a_bundle("text_cnn", tmp_path / "bundle", tmp_path / "cache")

    async def story() -> None:
        server = Server(LocalScorer(), OneBundle(bundle))
        await server.follower.poll_once()
        predictor = load_bundle(bundle)
        want = predictor.predict(predictor.example)
        found = await infer_all(client_of(server), predictor.example)
        assert found.keys() == set(want.columns)
        for name, values in found.items():
            same = want[name].tolist()
            assert values == (same if isinstance(same[0], str) else pytest.approx(same, abs=1e-6))

    run(story)


def test_client_raises_the_protocols_errors() -> None:
    async def story() -> None:
        server = Server()
        client = client_of(server)
        await server.follower.poll_once()
        wrong = InferenceRequest(inputs=[tensor("y", "FP64", [1.0])])
        with pytest.raises(BadRequestError, match="'x' is missing"):
            await client.model_infer("m", request=wrong)
        with pytest.raises(ApiError, match="the model must be m") as refused:
            await client.read_model_metadata("other")
        assert refused.value.status_code == 404
        with pytest.raises(NotFoundError):
            await client.check_model_version_readiness("m", "9")

    run(story)
