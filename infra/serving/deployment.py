"""Ray Serve: replicas that compute, and the handle by which batches reach them.

Serve's own HTTP proxy is left out: it costs a call a request, where a handle costs one a batch.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from infra.coordinator.placement import Node
from infra.errors import ClusterUnavailable, VelodromeError, WrongInput
from infra.serving.artifact import Artifact
from infra.serving.batching import NoReplicaError, ReplicaCounts, ReplicaError
from infra.serving.loaded_models import LoadedModels
from infra.serving.model_schema import ModelSchema
from infra.serving.scoring import Answer, RequestBatch
from infra.tracking.mlflow_environment import set_defaults
from trainers.errors import TrainerError

if TYPE_CHECKING:
    from ray.serve import Application
    from ray.serve.handle import DeploymentHandle

log = logging.getLogger("velodrome.serving")

BATCHES_A_REPLICA = 2  # one computes while the other travels
LOAD_LIMIT_S = 120.0
UP_LIMIT_S = 120.0
POLL_S = 0.1
# Scoring runs in a pool of threads anyway; a loop of its own before it costs each call a switch more.
REPLICA_SETTINGS = {"RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSettings:
    """How many compute, and what each gets of the cluster. `gpus` may be a fraction."""

    count: int = 1
    cpus: float = 1.0
    gpus: float = 0.0


class Replica:
    """One process that computes. Loads what it is told to; a restarted one is told again."""

    def __init__(self, gpus: float) -> None:
        set_defaults()
        import torch

        self._models = LoadedModels("cuda" if gpus and torch.cuda.is_available() else "cpu")

    def load(self, artifact: Artifact) -> ModelSchema | str:
        """What the version takes and gives, or why it cannot be loaded."""
        try:
            return self._models.load(artifact)
        except (VelodromeError, TrainerError) as error:
            return str(error)
        except Exception as error:  # a flavour's own failure: the version is refused, the replica lives on
            return f"{type(error).__name__}: {str(error)[:300]}"

    def drop(self, key: str) -> None:
        """Lets go of a version."""
        self._models.drop(key)

    def score(self, key: str, batch: RequestBatch) -> list[Answer] | None:
        """Answers, or None where the version is not loaded here."""
        return self._models.score(key, batch)

    def ping(self) -> None:
        """Shows that it is there."""


def check_replicas_placeable(replicas: ReplicaSettings, nodes: Sequence[Node]) -> None:
    """Refuses at once what the cluster could never hold; Serve would wait for it."""
    room = sum(_replica_capacity(replicas, node) for node in nodes)
    if room < replicas.count:
        cpus, gpus = sum(node.cpus for node in nodes), sum(node.gpus for node in nodes)
        raise ClusterUnavailable(
            f"the cluster must hold {replicas.count} replicas of {replicas.cpus:g} CPUs and"
            f" {replicas.gpus:g} GPUs",
            f"room for {room} on {cpus:g} CPUs and {gpus:g} GPUs",
            "ask for less with --replicas, --cpus or --gpus",
        )


def _replica_capacity(replicas: ReplicaSettings, node: Node) -> int:
    by_cpus = int(node.cpus / replicas.cpus + 1e-6)
    return min(by_cpus, int(node.gpus / replicas.gpus + 1e-6)) if replicas.gpus else by_cpus


@contextmanager
def deploy_replicas(model: str, replicas: ReplicaSettings) -> Iterator[RayScorer]:
    """Replicas of a model, up for as long as the block lasts, on the Ray that is connected."""
    from ray import serve

    from infra.driver.cluster import list_nodes

    check_replicas_placeable(replicas, list_nodes())
    _silence_ray_logs()
    name = f"velodrome-{model}-{secrets.token_hex(4)}"  # several servers of one model may share a cluster
    serve.start(proxy_location="Disabled", logging_config={"log_level": "ERROR", "enable_access_log": False})
    deployment = serve.deployment(
        name="replica",
        num_replicas=replicas.count,
        ray_actor_options={
            "num_cpus": replicas.cpus,
            "num_gpus": replicas.gpus,
            "runtime_env": {"env_vars": REPLICA_SETTINGS},
        },
        max_ongoing_requests=BATCHES_A_REPLICA + 2,
        health_check_period_s=1.0,
        health_check_timeout_s=30.0,
        graceful_shutdown_timeout_s=5.0,
        graceful_shutdown_wait_loop_s=0.1,
    )(Replica)
    try:
        yield RayScorer(_await_running(deployment.bind(replicas.gpus), name), name, replicas.count)
    finally:
        with _log_serve_errors():
            serve.delete(name, _blocking=False)


def _await_running(application: Application, name: str) -> DeploymentHandle[Replica]:
    from ray import serve

    target = serve.RunTarget(target=application, name=name, route_prefix=None)
    serve.run_many([target], wait_for_applications_running=False)
    deadline = time.monotonic() + UP_LIMIT_S
    while (status := serve.status().applications[name]).status != "RUNNING":
        if status.status in ("DEPLOY_FAILED", "UNHEALTHY") or time.monotonic() > deadline:
            found = f"{status.status}: {status.message.strip()[:300]}" if status.message else status.status
            limit = f"the replicas must come up within {UP_LIMIT_S:g} s"
            raise ClusterUnavailable(limit, str(found), "see `velodrome doctor`, or ask for less")
        time.sleep(POLL_S)
    return serve.get_app_handle(name)


def _running_replicas(application: str) -> int:
    """How many Serve's controller takes for healthy."""
    from ray import serve

    deployments = serve.status().applications[application].deployments.values()
    states = [entry for found in deployments for entry in found.replica_states.items()]
    return sum(count for state, count in states if cast("str", state) == "RUNNING")


def _silence_ray_logs() -> None:
    os.environ.setdefault("RAY_SERVE_ENABLE_TASK_EVENTS", "0")
    for name in ("ray.serve", "ray"):
        logging.getLogger(name).setLevel(logging.ERROR)


@contextmanager
def _log_serve_errors() -> Iterator[None]:
    from ray.exceptions import RayError

    try:
        yield
    except (RayError, RuntimeError, TimeoutError) as error:
        log.debug("the replicas ended badly: %s", error)


class RayScorer:
    """Sends batches to replicas; one that came up later, or again, is given the versions that it lacks."""

    def __init__(self, handle: DeploymentHandle[Replica], application: str, wanted: int) -> None:
        self._unbound, self._application, self._wanted = handle, application, wanted
        self._artifacts: dict[str, Artifact] = {}
        self._again = asyncio.Lock()

    @functools.cached_property
    def _handle(self) -> DeploymentHandle[Replica]:
        """Serve's router on the loop that asks: on a thread of its own, each call would wait for the
        interpreter's lock twice, up to 5 ms each while this loop has work."""
        self._unbound._init(_run_router_in_separate_loop=False)  # type: ignore[no-untyped-call]  # Ray's own
        return self._unbound.options(_by_reference=True)

    @functools.cached_property
    def _direct_handle(self) -> DeploymentHandle[Replica]:
        return self._handle.options(_by_reference=False)

    async def load(self, artifact: Artifact) -> ModelSchema:
        """As `Scorer`."""
        found = await self._broadcast("load", artifact)
        refused = next((reason for reason in found if isinstance(reason, str)), None)
        if refused is not None:
            await self.drop(artifact.key)
            raise WrongInput(f"{artifact.key} must load and answer its example", refused)
        self._artifacts[artifact.key] = artifact
        return next(schema for schema in found if not isinstance(schema, str))

    async def drop(self, key: str) -> None:
        """As `Scorer`."""
        self._artifacts.pop(key, None)
        await self._broadcast("drop", key)

    async def count_replicas(self) -> ReplicaCounts:
        """As `Scorer`: one is asked through the handle, which passes over those that hang."""
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        try:
            await self._handle.ping.remote()
            running = await asyncio.to_thread(_running_replicas, self._application)
        except (RayError, RayServeException, RuntimeError) as error:
            raise ReplicaError(f"ping: {type(error).__name__}") from error
        return ReplicaCounts(wanted=self._wanted, running=running)

    async def score(self, key: str, batch: RequestBatch) -> Sequence[Answer]:
        """As `Scorer`."""
        from ray.exceptions import RayError
        from ray.serve.exceptions import RayServeException

        try:
            answers = await self._score_direct(key, batch)
        except (RayError, RayServeException) as error:
            if isinstance(getattr(error, "cause", None), MemoryError):
                raise MemoryError(str(error)) from error
            raise ReplicaError(type(error).__name__) from error
        if answers is None:
            await self._reload_version(key)
            raise ReplicaError(f"{key} was not loaded")
        return answers

    async def _score_direct(self, key: str, batch: RequestBatch) -> list[Answer] | None:
        """Straight to the replica, as long as the message is no larger than that may be; else through Ray's
        store of objects."""
        import grpc

        try:
            answers: list[Answer] | None = await self._direct_handle.score.remote(key, batch)
        except grpc.RpcError as error:
            log.debug("a batch goes by Ray's store: %s", error)
            answers = await self._handle.score.remote(key, batch)
        return answers

    async def _reload_version(self, key: str) -> None:
        async with self._again:
            artifact = self._artifacts.get(key)
            if artifact is not None:
                await self._broadcast("load", artifact)

    async def _broadcast(self, method: str, *arguments: Artifact | str) -> list[ModelSchema | str]:
        """What each replica answers; nothing is read of what `drop` does."""
        from ray.exceptions import RayError
        from ray.serve.exceptions import DeploymentUnavailableError, RayServeException

        try:
            response = self._handle.broadcast(method, *arguments)
            found: list[ModelSchema | str] = await response.results_async(timeout_s=LOAD_LIMIT_S)
        except DeploymentUnavailableError as error:
            raise NoReplicaError(f"{method}: no replica is there") from error
        except (RayError, RayServeException, TimeoutError, RuntimeError) as error:
            raise ReplicaError(f"{method}: {type(error).__name__}") from error
        if not found:
            raise NoReplicaError(f"{method}: no replica is there")
        return found
