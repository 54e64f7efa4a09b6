"""`velodrome serve`: an HTTP server on Ray Serve that follows a registered model's champion."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from flows.inference.model_lookup import ModelChoice, choose_model, fetch_artifact, registry_of
from flows.inference.serve_options import DRAIN_S, ServeOptions, check_options, check_promoted
from infra.addresses import bracket_ipv6, is_loopback
from infra.auth_tokens import check_token, read_or_make_token
from infra.errors import Unavailable, WrongInput
from infra.home import Home
from infra.monitoring.drift import DriftWatch
from infra.monitoring.prediction_log import PredictionLog
from infra.serving.alias_follower import AliasFollower, ServingState, VersionSource
from infra.serving.artifact import Artifact
from infra.serving.batching import Batcher, Scorer
from infra.serving.deployment import BATCHES_A_REPLICA, ReplicaSettings, deploy_replicas
from infra.serving.http.access_control import AccessControl, known_hosts
from infra.serving.http.access_log import AccessLog
from infra.serving.limits import RequestLimits
from infra.serving.readiness import Readiness
from infra.serving.registry_source import RegistrySource
from infra.serving.routing import CanaryRule, Role
from infra.serving.service import ScoringService

FIRST_LIMIT_S = 60.0
TOKEN = "VELODROME_SERVE_TOKEN"
TOKEN_FILE = "serve_token"
CHALLENGER = "challenger"

Say = Callable[[str], None]
Compute = Callable[[str, ReplicaSettings], AbstractContextManager[Scorer]]


def serve(
    model: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    replicas: int = 1,
    cpus: float = 1.0,
    gpus: float = 0.0,
    shadow: str | None = None,
    canary: float = 0.0,
    allow_hosts: Sequence[str] = (),
    limits: RequestLimits | None = None,
    only_promoted: bool = False,
    drain_s: float = DRAIN_S,
    log_predictions: Path | None = None,
    log_share: float = 1.0,
    access_log: str | None = None,
    address: str | None = None,
    home: Home | None = None,
    say: Say = print,
) -> None:
    """Serves a model until it is interrupted.

    Args:
        model: a registered model, whose champion is followed; `NAME@ALIAS`, which is followed; `NAME/3`,
            a `runs:/` or `models:/` address or a sweep, which stay what they are.
        host: other than loopback only with a token: `VELODROME_SERVE_TOKEN`, or one that is made and kept in
            the home.
        replicas: processes that compute, each with so many `cpus` and `gpus` (fractions allowed).
        only_promoted: what the model's history moved the champion to answers, wherever somebody put the
            alias by hand.
        drain_s: so long after SIGTERM requests are still answered, while `/health/ready` says no.
        log_predictions: a folder where answered rows are kept in Parquet; a `log_share` of the requests.
        access_log: where a line of JSON a request goes: a path, or `-` for standard output.
        address: an existing Ray cluster for the replicas; without it a local one.

    Raises:
        WrongInput: no such model, an option that cannot be, a port in use, a model that does not load.
        Unavailable: Ray, or the registry, cannot be had.
    """
    from infra.driver.cluster import connect_ray

    place = home or Home.from_environment()
    options = ServeOptions(
        host=host, port=port, replicas=ReplicaSettings(count=replicas, cpus=cpus, gpus=gpus), shadow=shadow,
        canary=canary, hosts=tuple(allow_hosts), limits=limits or RequestLimits(),
        only_promoted=only_promoted, drain_s=drain_s, log_predictions=log_predictions,
        log_share=log_share, access_log=access_log,
    )  # fmt: skip
    with prepare_server(model, options, place) as ready, open_loop() as runner, connect_ray(address, place):
        run_server(ready, options, deploy_replicas, say, runner)


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedServer:
    """What was checked before anything was started."""

    chosen: ModelChoice
    source: VersionSource
    admission: AccessControl
    listening: socket.socket
    access_log: AccessLog | None = None
    prediction_log: PredictionLog | None = None


@contextlib.contextmanager
def prepare_server(model: str, options: ServeOptions, home: Home) -> Iterator[PreparedServer]:
    """Checks all that can be wrong before anything is started, and takes the port."""
    from infra.serving.http.http_server import bind_socket

    check_options(options)
    admission = _admission(options, home)
    chosen = choose_model(model, home)
    if (options.shadow or options.canary) and chosen.follows is None:
        do = "give a registered model's name alone"
        raise WrongInput("a challenger needs a registered model that is followed", model, do)
    source = _source(chosen, home, options.only_promoted)
    if options.only_promoted:
        check_promoted(chosen, source)
    with contextlib.ExitStack() as opened:
        listening = opened.enter_context(bind_socket(options.host, options.port))
        log = AccessLog(options.access_log) if options.access_log else None
        if log is not None:
            opened.callback(log.close)
        folder = options.log_predictions
        yield PreparedServer(
            chosen=chosen, source=source, admission=admission, listening=listening, access_log=log,
            prediction_log=PredictionLog(folder, options.log_share) if folder else None,
        )  # fmt: skip


def _admission(options: ServeOptions, home: Home) -> AccessControl:
    given = os.environ.get(TOKEN)
    token = check_token(given, TOKEN) if given else None
    if token is None and not is_loopback(options.host):
        token = read_or_make_token(home.path / TOKEN_FILE)
    return AccessControl(token=token, hosts=known_hosts(options.host, options.hosts))


@dataclass(frozen=True, slots=True)
class PinnedSource:
    """One version that nothing moves."""

    artifact: Artifact

    def alias_target(self, model: str, alias: str) -> str:
        """Always that one."""
        return self.artifact.key

    def champion_state(self, model: str) -> str:
        """It has no history."""
        return "pinned"

    def fetch(self, key: str, folder: Path) -> Artifact:
        """Its files, which are here already."""
        return self.artifact


def _source(chosen: ModelChoice, home: Home, only_promoted: bool) -> VersionSource:
    registry = registry_of(home) if chosen.follows else None
    if registry is not None:
        return RegistrySource(registry, only_promoted)
    return PinnedSource(fetch_artifact(chosen, home))


@contextlib.contextmanager
def open_loop() -> Iterator[asyncio.Runner]:
    """What requests are answered in. Until Ray has ended it tells the loop of answers that nobody waits for:
    of one that is closed by then it prints an error."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner


def run_server(
    ready: PreparedServer, options: ServeOptions, compute: Compute, say: Say, runner: asyncio.Runner
) -> None:
    """Answers until it is interrupted."""
    if ready.chosen.warning:
        say(f"warning: {ready.chosen.warning}")
    try:
        with compute(ready.chosen.name, options.replicas) as scorer:
            runner.run(_answer_requests(ready, options, scorer, say))
    except KeyboardInterrupt:  # how a person ends it: nothing went wrong
        say("the server has ended")


async def _answer_requests(ready: PreparedServer, options: ServeOptions, scorer: Scorer, say: Say) -> None:
    from infra.serving.http.app import ScoringApp
    from infra.serving.http.http_server import run_server as listen

    batcher = Batcher(scorer, options.limits, at_once=BATCHES_A_REPLICA * options.replicas.count)
    follower = AliasFollower(
        ready.source, scorer, ready.chosen.name, _aliases(ready.chosen, options),
        keep_s=options.limits.answer_s, say=say,
    )  # fmt: skip
    await _load_champion(follower)
    kept, readiness = ready.prediction_log, Readiness()
    service = _make_service(batcher, follower.standing, kept, options, say)
    app = ScoringApp(
        service, ready.admission, ready.chosen.name, readiness=readiness, access_log=ready.access_log
    )
    # What is loaded by now stays: each time that the collector went through it, all would wait for it.
    gc.collect()
    gc.freeze()
    beside = [follower.follow_forever(options.poll_s), readiness.watch_forever(scorer, batcher)]
    if kept is not None:
        beside.append(kept.write_forever())
    watching = [asyncio.create_task(loop) for loop in beside]
    try:
        await listen(
            app, ready.listening, options.limits, drain_s=options.drain_s,
            started=lambda: _announce(ready, say),
        )  # fmt: skip
    finally:
        for task in watching:
            task.cancel()
        await batcher.close()
        if kept is not None:
            await kept.flush()


def _make_service(
    batcher: Batcher, standing: ServingState, kept: PredictionLog | None, options: ServeOptions, say: Say
) -> ScoringService:
    """Its observers see each answer, and have figures of their own."""
    observers: list[DriftWatch | PredictionLog] = [DriftWatch(), *([] if kept is None else [kept])]
    service = ScoringService(
        batcher, standing, options.limits, shadow=options.shadow is not None,
        canary=CanaryRule(percent=options.canary), say=say, observers=observers,
    )  # fmt: skip
    for observer in observers:
        service.figures.add_collector(observer)
    return service


def _aliases(chosen: ModelChoice, options: ServeOptions) -> dict[Role, str]:
    aliases: dict[Role, str] = {"champion": chosen.follows or ""}
    if options.shadow or options.canary:
        aliases["challenger"] = options.shadow or CHALLENGER
    return aliases


async def _load_champion(follower: AliasFollower) -> None:
    """Has the champion loaded; a replica that is only just up may not be known yet."""
    standing, deadline = follower.standing, time.monotonic() + FIRST_LIMIT_S
    while standing.answering["champion"] is None:
        await follower.poll_once()
        if reason := _refusal(standing):
            raise WrongInput("a champion must be one that can be served", reason)
        if standing.answering["champion"] is None:
            if not standing.trouble or time.monotonic() > deadline:
                found = standing.trouble or "its alias was taken away"
                raise Unavailable(f"a version must be up within {FIRST_LIMIT_S:g} s", found)
            await asyncio.sleep(0.1)


def _refusal(standing: ServingState) -> str:
    """Why the champion does not answer; empty where it does, or may soon."""
    wanted = standing.wanted.get("champion")
    if standing.answering["champion"] is not None or wanted not in standing.refused:
        return ""
    return f"{wanted}: {standing.refused[wanted]}"


async def _announce(ready: PreparedServer, say: Say) -> None:
    host, port = ready.listening.getsockname()[:2]
    say(f"http://{bracket_ipv6(host)}:{port}/invocations   (Ctrl-C ends it)")
    if ready.admission.token is not None:
        where = f"in {TOKEN}" if os.environ.get(TOKEN) else f"in the home's {TOKEN_FILE}"
        say(f"requests must bring `Authorization: Bearer TOKEN`; the token is {where}")
