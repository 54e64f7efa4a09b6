"""Keeps what answers in step with the registry's aliases.

A new version is fetched, loaded beside the old one by every replica and proven on its own example before any
request reaches it. One that fails is refused, and the old one goes on answering.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from infra.errors import Unavailable, VelodromeError
from infra.serving.artifact import Artifact
from infra.serving.batching import NoReplicaError, ReplicaError, Scorer
from infra.serving.model_schema import ModelSchema
from infra.serving.routing import Role, next_step
from infra.tracking.client import TrackingError
from trainers.errors import TrainerError

log = logging.getLogger("velodrome.serving")

POLL_S = 0.5
STATE_EVERY_S = 5.0  # reading a history costs more than asking for an alias does
MOST_DEATHS = 2  # of replicas that were loading a version


class VersionSource(Protocol):
    """Where versions come from: `infra.serving.registry_source.RegistrySource`, or one fixed version."""

    def alias_target(self, model: str, alias: str) -> str | None:
        """The key of the version that the alias points at: `digits/3`."""

    def champion_state(self, model: str) -> str:
        """How the alias `champion` stands to the model's history: a `State` of `infra.registry.chain`, or
        `pinned`."""

    def fetch(self, key: str, folder: Path) -> Artifact:
        """Its files."""


@dataclass(slots=True, kw_only=True)
class ServingState:
    """What answers now.

    Attributes:
        answering: the version by its role; the challenger's is None where there is none.
        wanted: the version that each role's alias points at.
        schemas: what each loaded version takes and gives.
        refused: versions that did not load, and why.
        champion_state: how the alias `champion` stands to the model's history: `settled` where the history
            moved it there.
        swaps: how often a role got another version.
        polled_at: when the registry last answered, by `time.monotonic`; None: never yet.
        trouble: what the registry, or a replica, said when it last did not do what it should.
    """

    answering: dict[Role, str | None] = field(default_factory=dict)
    wanted: dict[Role, str | None] = field(default_factory=dict)
    schemas: dict[str, ModelSchema] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    champion_state: str = "unknown"
    swaps: int = 0
    polled_at: float | None = None
    trouble: str = ""


class AliasFollower:
    """Follows the aliases of one registered model."""

    def __init__(
        self,
        source: VersionSource,
        scorer: Scorer,
        model: str,
        aliases: Mapping[Role, str],
        *,
        keep_s: float = 30.0,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Prepares.

        Args:
            aliases: which alias each role follows.
            keep_s: how long a version is kept that answers no longer; at least as long as a request may wait.
            say: told of every swap and every refusal.
        """
        self._source, self._scorer, self._model = source, scorer, model
        self._aliases, self._keep_s, self._say = dict(aliases), keep_s, say
        self._former: str | None = None  # kept, so that a rollback needs no loading
        self._deaths: Counter[str] = Counter()
        self._left_at: dict[str, float] = {}
        self._state_at = -math.inf
        self.standing = ServingState(answering=dict.fromkeys(aliases))

    async def follow_forever(self, poll_s: float = POLL_S) -> None:
        """Follows for ever."""
        while True:
            await asyncio.sleep(poll_s)
            try:
                await self.poll_once()
            except Exception as error:  # whatever it was: what answers now goes on, and is followed further
                log.warning("the aliases were not followed", exc_info=error)
                self.standing.trouble = f"{type(error).__name__}: {str(error)[:200]}"

    async def poll_once(self) -> None:
        """Looks once, and does what has to be done; failures are kept in `standing`."""
        self.standing.trouble = ""
        steps: list[Callable[[], Awaitable[None]]] = [
            functools.partial(self._follow_role, role) for role in self._aliases
        ]
        for step in (*steps, self._read_state):
            try:
                await step()
            except (Unavailable, TrackingError, ReplicaError) as error:
                self.standing.trouble = str(error)[:300]
        await self._retire_versions()

    async def _read_state(self) -> None:
        if time.monotonic() - self._state_at >= STATE_EVERY_S:
            self.standing.champion_state = await asyncio.to_thread(self._source.champion_state, self._model)
            self._state_at = time.monotonic()

    async def _follow_role(self, role: Role) -> None:
        wanted = await asyncio.to_thread(self._source.alias_target, self._model, self._aliases[role])
        self.standing.polled_at = time.monotonic()
        self._clear_refusal(role, wanted)
        step = next_step(
            wanted=wanted,
            answering=self.standing.answering[role],
            loaded=set(self.standing.schemas),
            refused=set(self.standing.refused),
        )
        if role == "challenger" and wanted is None:
            self._swap_version(role, None)
        elif step.kind == "swap":
            self._swap_version(role, step.version)
        elif step.kind == "load" and wanted is not None and await self._load_version(wanted):
            self._swap_version(role, wanted)

    def _clear_refusal(self, role: Role, wanted: str | None) -> None:
        """A refused version is tried again once its alias has pointed elsewhere."""
        before = self.standing.wanted.get(role)
        self.standing.wanted[role] = wanted
        if before is not None and before not in self.standing.wanted.values():
            self.standing.refused.pop(before, None)
            self._deaths.pop(before, None)

    async def _load_version(self, key: str) -> bool:
        try:
            with tempfile.TemporaryDirectory(prefix="velodrome-fetch-") as folder:
                artifact = await asyncio.to_thread(self._source.fetch, key, Path(folder))
            self.standing.schemas[key] = await self._scorer.load(artifact)
        except Unavailable:  # not the version's fault: it is tried again
            raise
        except (VelodromeError, TrainerError, OSError) as error:
            self.standing.refused[key] = str(error)
            on = ", and what answered goes on" if any(self.standing.answering.values()) else ""
            self._say(f"{key} is refused{on}: {error}")
            return False
        except NoReplicaError:
            raise
        except ReplicaError as error:
            self._deaths[key] += 1
            if self._deaths[key] < MOST_DEATHS:
                raise
            self.standing.refused[key] = f"replicas died while they loaded it: {error}"
            self._say(f"{key} is refused: replicas died while they loaded it")
            return False
        return True

    def _swap_version(self, role: Role, key: str | None) -> None:
        before = self.standing.answering[role]
        if before == key:
            return
        self.standing.answering[role] = key
        self.standing.swaps += before is not None
        self._say(f"{role}: {before or 'none'} -> {key or 'none'}")
        if role == "champion":
            self._state_at = -math.inf
            self._former = before or self._former

    async def _retire_versions(self) -> None:
        kept = {*self.standing.answering.values(), self._former}
        now = time.monotonic()
        self._left_at = {key: self._left_at.get(key, now) for key in self.standing.schemas if key not in kept}
        for key, left_at in self._left_at.items():
            if now - left_at >= self._keep_s:
                del self.standing.schemas[key]
                await self._drop_version(key)

    async def _drop_version(self, key: str) -> None:
        try:
            await self._scorer.drop(key)
        except ReplicaError as error:
            log.debug("%s was not dropped: %s", key, error)
