"""The server's paths: what each answers."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping, Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from infra.serving import open_inference
from infra.serving.exchange import Exchange
from infra.serving.http.bodies import read_body
from infra.serving.http.documents import docs_page, openapi_document
from infra.serving.http.responses import JSON, json_response
from infra.serving.limits import ScoringError
from infra.serving.model_schema import Field, ModelSchema
from infra.serving.readiness import Readiness
from infra.serving.scoring_protocol import RequestRows, media_type, read_rows
from infra.serving.service import LARGE_BODY, ScoringService
from trainers.types import Document, JsonObject


def exchange_of(request: Request) -> Exchange:
    """What is noted of the request."""
    exchange: Exchange = request.state.exchange
    return exchange


class Endpoints:
    """Answers of one model's server."""

    def __init__(self, service: ScoringService, readiness: Readiness, model: str, *, secured: bool) -> None:
        self._secured = secured
        self._service, self._readiness, self._model = service, readiness, model
        self._standing = service.standing

    def routes(self) -> list[Route]:
        """Every path; the one that is asked most stands first."""
        get, model, version = ["GET"], "/v2/models/{name}", "/v2/models/{name}/versions/{version}"
        return [
            Route("/invocations", self.invocations, methods=["POST"]),
            *(Route(f"{path}/infer", self.infer, methods=["POST"]) for path in (model, version)),
            *(Route(path, self.metadata, methods=get) for path in (model, version)),
            *(Route(f"{path}/ready", self.model_ready, methods=get) for path in (model, version)),
            *(Route(path, self.health, methods=get) for path in ("/health", "/ping")),
            *(Route(path, self.live, methods=get) for path in ("/health/live", "/v2/health/live")),
            *(Route(path, self.ready, methods=get) for path in ("/health/ready", "/v2/health/ready")),
            Route("/v2", self.server_metadata, methods=get),
            Route("/version", self.version, methods=get),
            Route("/metrics", self.metrics, methods=get),
            Route("/openapi.json", self.openapi, methods=get),
            Route("/docs", self.docs, methods=get),
        ]

    async def invocations(self, request: Request) -> Response:
        """MLflow's protocol."""
        body = await read_body(request, self._service.limits)
        kind = request.headers.get("content-type", "")
        limits = self._service.limits
        answer = await self._service.score(
            lambda fields: read_rows(body, kind, fields, limits), len(body), exchange_of(request)
        )
        return Response(b'{"predictions": %b}' % answer.content, 200, None, JSON)

    async def infer(self, request: Request) -> Response:
        """The Open Inference Protocol."""
        version = self._find_version(request)
        open_inference.refuse_binary(request.headers)
        media_type(request.headers.get("content-type", ""), (JSON,))
        limits, exchange = self._service.limits, exchange_of(request)
        body = await read_body(request, limits)
        document: Document = {}

        def read(fields: Sequence[Field]) -> RequestRows:
            document.update(open_inference.read_request(body, limits))
            return open_inference.read_tensor_rows(document, fields, limits)

        answer = await self._service.score(read, len(body), exchange, version=version)
        answered = exchange.version or ""
        write = functools.partial(
            open_inference.write_response,
            answer.content, document, self._model, answered.rpartition("/")[2], self._schema(answered),
        )  # fmt: skip
        large = len(answer.content) >= LARGE_BODY
        return Response(await asyncio.to_thread(write) if large else write(), 200, None, JSON)

    async def metadata(self, request: Request) -> Response:
        """What the model takes and gives, as tensors."""
        key = self._find_version(request) or self._champion()
        schema = self._schema(key) or ModelSchema(fields=[])
        versions = [key.rpartition("/")[2] for key in self._standing.answering.values() if key]
        return json_response({
            "name": self._model, "versions": list(dict.fromkeys(versions)), "platform": "velodrome",
            "inputs": open_inference.describe_tensors(schema.fields),
            "outputs": open_inference.describe_tensors(schema.outputs),
        })  # fmt: skip

    async def model_ready(self, request: Request) -> Response:
        """Whether a version answers."""
        self._find_version(request)
        objection = self._readiness.find_objection(self._standing)
        return json_response({"name": self._model, "ready": not objection}, 503 if objection else 200)

    async def server_metadata(self, request: Request) -> Response:
        """Which server this is."""
        from importlib.metadata import version

        return json_response({"name": "velodrome", "version": version("velodrome"), "extensions": []})

    async def health(self, request: Request) -> Response:
        """As MLflow's: whether a version is loaded."""
        loaded = self._standing.answering.get("champion") is not None
        return json_response({"status": "ok" if loaded else "starting"}, 200 if loaded else 503)

    async def live(self, request: Request) -> Response:
        """Whether this process need not be killed."""
        return json_response({"status": "ok", "live": True})

    async def ready(self, request: Request) -> Response:
        """Whether requests should be sent here."""
        objection = self._readiness.find_objection(self._standing)
        document = {"status": objection or "ok", "ready": not objection}
        return json_response(document, 503 if objection else 200)

    async def version(self, request: Request) -> Response:
        """What answers, and what was refused."""
        standing = self._standing
        versions: JsonObject = {str(role): key for role, key in standing.answering.items() if key}
        told: JsonObject = {
            "champion_state": standing.champion_state,
            "refused": standing.refused,
            "trouble": standing.trouble,
        }  # fmt: skip
        return json_response({"model": self._model, **versions, **told})

    async def metrics(self, request: Request) -> Response:
        """Figures for Prometheus."""
        text, kind = self._service.figures.metrics_text(request.headers.get("accept", ""))
        return Response(text, 200, {"content-type": kind})

    async def openapi(self, request: Request) -> Response:
        """What may be asked and what is answered, in the champion's own columns."""
        return json_response(self._document())

    async def docs(self, request: Request) -> Response:
        """The same for people; loads nothing from elsewhere."""
        return Response(docs_page(self._document()), 200, {"content-type": "text/html; charset=utf-8"})

    def _document(self) -> JsonObject:
        champion = self._standing.answering.get("champion")
        return openapi_document(
            self._model, champion, self._schema(champion or ""), self._service.limits, secured=self._secured
        )

    def _schema(self, key: str) -> ModelSchema | None:
        schemas: Mapping[str, ModelSchema] = self._standing.schemas
        return schemas.get(key)

    def _champion(self) -> str:
        champion = self._standing.answering.get("champion")
        if champion is None:
            raise ScoringError(503, "no version answers yet")
        return champion

    def _find_version(self, request: Request) -> str | None:
        """The version that a path names; None where it names the model alone."""
        name, version = request.path_params["name"], request.path_params.get("version")
        if name != self._model:
            raise ScoringError(404, f"the model must be {self._model}, but got {name[:80]!r}")
        if version is None:
            return None
        for key in self._standing.answering.values():
            if key is not None and key.rpartition("/")[2] == version:
                return key
        raise ScoringError(404, f"no version {version[:40]!r} of {self._model} answers")
