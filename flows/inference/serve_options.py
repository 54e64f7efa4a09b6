"""How a model is served, and which of it cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flows.inference.model_lookup import ModelChoice
from infra.errors import WrongInput
from infra.names import check_name
from infra.registry.store import CHAMPION
from infra.serving.alias_follower import POLL_S, VersionSource
from infra.serving.deployment import ReplicaSettings
from infra.serving.limits import RequestLimits

DRAIN_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """How a model is served.

    Attributes:
        shadow: the alias whose version gets every request too, without being heard.
        canary: percent of the requests that the challenger answers, until it fails too often.
        hosts: names that requests may have in `Host` beside this machine's own.
        only_promoted: an alias that was moved by hand is not followed.
        drain_s: so long after SIGTERM requests are still answered, while `/health/ready` says no.
        log_predictions: the folder where answered rows are kept.
        log_share: of the requests, for that.
        access_log: where each request's line goes: a path, or `-` for standard output.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    replicas: ReplicaSettings = field(default_factory=ReplicaSettings)
    shadow: str | None = None
    canary: float = 0.0
    hosts: Sequence[str] = ()
    limits: RequestLimits = field(default_factory=RequestLimits)
    poll_s: float = POLL_S
    only_promoted: bool = False
    drain_s: float = DRAIN_S
    log_predictions: Path | None = None
    log_share: float = 1.0
    access_log: str | None = None


def check_options(options: ServeOptions) -> None:
    """Refuses what cannot be."""
    if not 0 <= options.canary <= 100:
        do = "--canary 5 gives the challenger five of a hundred requests"
        raise WrongInput("--canary must be between 0 and 100 percent", f"{options.canary:g}", do)
    if options.canary and options.shadow:
        raise WrongInput("a challenger is either heard or not", "--canary with --shadow", "choose one")
    if options.shadow:
        check_name(options.shadow, "alias")
    counts = options.replicas
    if counts.count < 1 or counts.cpus <= 0 or counts.gpus < 0:
        found = f"{counts.count} replicas, {counts.cpus:g} CPUs and {counts.gpus:g} GPUs each"
        raise WrongInput("there must be a replica, and it needs a CPU or a part of one", found)
    if not 0 <= options.drain_s <= 3600:
        raise WrongInput("--drain must be between 0 and 3600 seconds", f"{options.drain_s:g}")
    if not 0 < options.log_share <= 1:
        raise WrongInput("--log-share must be above 0 and at most 1", f"{options.log_share:g}")
    if options.only_promoted and options.canary:
        found = "--only-promoted with --canary"
        raise WrongInput("a challenger is not promoted, so it must not answer", found, "use --shadow")


def check_promoted(chosen: ModelChoice, source: VersionSource) -> None:
    """Refuses to serve only what was promoted where that is nothing."""
    if chosen.follows != CHAMPION:
        do = "give a registered model's name alone"
        raise WrongInput("--only-promoted needs a champion that is followed", chosen.name, do)
    if source.alias_target(chosen.name, CHAMPION) is None:
        do = f"`velodrome adopt {chosen.name}` accepts the champion that is there"
        raise WrongInput(
            "the champion must have been promoted", f"no move in the history of {chosen.name}", do
        )
