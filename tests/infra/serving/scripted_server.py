"""A whole server without Ray: what answers, what stands before it, and how it is asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.errors import WrongInput
from infra.registry.registry_errors import RegistryUnavailable
from infra.serving.alias_follower import AliasFollower
from infra.serving.artifact import Artifact
from infra.serving.batching import Batcher, ReplicaCounts, ReplicaError
from infra.serving.http.access_control import AccessControl
from infra.serving.http.app import ScoringApp
from infra.serving.limits import RequestLimits
from infra.serving.loaded_models import LoadedModels
from infra.serving.model_schema import Field, ModelSchema
from infra.serving.readiness import Readiness
from infra.serving.routing import CanaryRule, Role
from infra.serving.scoring import Answer, RequestBatch
from infra.serving.service import ScoringService

NUMBER = ModelSchema(
    fields=[Field(name="x", type="double")],
    outputs=[Field(name="prediction", type="double")],
    example=[{"x": 1.5}],
)


class LocalScorer:
    """Computes with real models in threads of this process."""

    def __init__(self) -> None:
        self._models = LoadedModels()

    async def load(self, artifact: Artifact) -> ModelSchema:
        """As `Scorer`."""
        return await asyncio.to_thread(self._models.load, artifact)

    async def drop(self, key: str) -> None:
        """As `Scorer`."""
        self._models.drop(key)

    async def count_replicas(self) -> ReplicaCounts:
        """As `Scorer`."""
        return ReplicaCounts(wanted=1, running=1)

    async def score(self, key: str, batch: RequestBatch) -> Sequence[Answer]:
        """As `Scorer`."""
        answers = await asyncio.to_thread(self._models.score, key, batch)
        if answers is None:
            raise ReplicaError(f"{key} is not loaded")
        return answers


@dataclass
class ScriptedScorer:
    """A scorer whose versions answer as told; `m/2` answers twice what `m/1` does, and so on.

    Attributes:
        broken: versions that do not load.
        failing: versions that fail on every row.
        troubles: how often the next batches die with their replica.
        seconds: how long a batch takes.
        hanging: versions whose batches never end.
        deadly: versions that kill the replica which loads them.
        down: no replica says anything.
    """

    broken: set[str] = field(default_factory=set)
    failing: set[str] = field(default_factory=set)
    troubles: int = 0
    seconds: float = 0.0
    hanging: set[str] = field(default_factory=set)
    deadly: set[str] = field(default_factory=set)
    down: bool = False
    loaded: set[str] = field(default_factory=set)
    batches: list[tuple[str, RequestBatch]] = field(default_factory=list)

    async def load(self, artifact: Artifact) -> ModelSchema:
        """As `Scorer`."""
        if artifact.key in self.broken:
            raise WrongInput("a version must load", artifact.key)
        if artifact.key in self.deadly:
            raise ReplicaError("load: ActorDiedError")
        self.loaded.add(artifact.key)
        return NUMBER

    async def drop(self, key: str) -> None:
        """As `Scorer`."""
        self.loaded.discard(key)

    async def count_replicas(self) -> ReplicaCounts:
        """As `Scorer`."""
        if self.down:
            await asyncio.sleep(1000.0)
        return ReplicaCounts(wanted=1, running=1)

    async def score(self, key: str, batch: RequestBatch) -> Sequence[Answer]:
        """As `Scorer`."""
        self.batches.append((key, batch))
        await asyncio.sleep(1000.0 if key in self.hanging else self.seconds)
        if self.troubles:
            self.troubles -= 1
            raise ReplicaError("died")
        if key not in self.loaded:
            raise ReplicaError(f"{key} is not loaded")
        if key in self.failing:
            return [Answer(reason="failed", defect=True) for _ in batch.sizes]
        answers, start = [], 0
        for size in batch.sizes:
            values = batch.columns["x"][start : start + size]
            records = [{"prediction": value * int(key[-1])} for value in values]
            answers.append(Answer(content=json.dumps(records).encode()))
            start += size
        return answers


@dataclass
class Aliases:
    """A registry in memory. `away`: it does not answer; `lost`: nor does its store."""

    at: dict[str, str] = field(default_factory=lambda: {"champion": "m/1"})
    away: bool = False
    lost: bool = False
    state: str = "settled"

    def alias_target(self, model: str, alias: str) -> str | None:
        """As `Source`."""
        if self.away:
            raise RegistryUnavailable("the registry must answer", "no answer")
        return self.at.get(alias)

    def champion_state(self, model: str) -> str:
        """As `Source`."""
        return self.state

    def fetch(self, key: str, folder: Path) -> Artifact:
        """As `Source`."""
        if self.lost:
            raise RegistryUnavailable("a model's files must be readable", "no answer")
        return Artifact(key=key, files={}, bundle=True)


@dataclass
class Reply:
    """An answer over HTTP."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body's document."""
        return json.loads(self.body)


class Server:
    """An application on scripted scorers."""

    def __init__(
        self,
        scorer: Any = None,
        aliases: Any = None,
        *,
        limits: RequestLimits | None = None,
        admission: AccessControl | None = None,
        canary: CanaryRule | None = None,
        shadow: bool = False,
        keep_s: float = 0.0,
        observers: Sequence[Any] = (),
    ) -> None:
        self.scorer = ScriptedScorer() if scorer is None else scorer
        self.aliases = Aliases() if aliases is None else aliases
        self.said: list[str] = []
        limits = limits or RequestLimits(answer_s=5.0)
        self.batcher = Batcher(self.scorer, limits, at_once=2)
        roles: dict[Role, str] = {"champion": "champion"}
        if canary or shadow:
            roles["challenger"] = "challenger"
        self.follower = AliasFollower(
            self.aliases, self.scorer, "m", roles, keep_s=keep_s, say=self.said.append
        )
        self.service = ScoringService(
            self.batcher,
            self.follower.standing,
            limits,
            canary=canary,
            shadow=shadow,
            say=self.said.append,
            observers=observers,
        )
        self.readiness = Readiness()
        self.app = ScoringApp(self.service, admission or AccessControl(), "m", readiness=self.readiness)

    async def ask(
        self,
        body: Any = None,
        *,
        method: str = "POST",
        path: str = "/invocations",
        headers: Mapping[str, str] | None = None,
        receive: Callable[[], Awaitable[Any]] | None = None,
        state: Mapping[str, Any] | None = None,
    ) -> Reply:
        """Sends one request; a body that is not bytes is JSON."""
        content = (
            body
            if isinstance(body, bytes)
            else json.dumps({"instances": [1.0]} if body is None else body).encode()
        )
        sent = {"host": "localhost", "content-type": "application/json", **(headers or {})}
        scope = {
            "type": "http", "method": method, "path": path, "query_string": b"", "http_version": "1.1",
            "scheme": "http", "root_path": "", "server": ("localhost", 80), "client": ("127.0.0.1", 1),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in sent.items()],
            "state": dict(state or {}),
        }  # fmt: skip
        parts: list[Any] = []

        async def whole() -> Any:
            return {"type": "http.request", "body": content, "more_body": False}

        async def send(message: Any) -> None:
            parts.append(message)

        await self.app(scope, receive or whole, send)
        start, *bodies = parts
        found = {name.decode(): value.decode() for name, value in start["headers"]}
        return Reply(start["status"], found, b"".join(part["body"] for part in bodies))


def run(story: Callable[[], Awaitable[None]]) -> None:
    """Runs a test's story, with a limit."""

    async def limited() -> None:
        async with asyncio.timeout(30):
            await story()

    asyncio.run(limited())
