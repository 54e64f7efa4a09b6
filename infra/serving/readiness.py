"""Whether requests should be sent here: a version is loaded, a replica computes, and the server stays."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from infra.serving.batching import Batcher, ReplicaCounts, ReplicaError, Scorer

if TYPE_CHECKING:
    from infra.serving.alias_follower import ServingState

log = logging.getLogger("velodrome.serving")

CHECK_S = 1.0
CHECK_LIMIT_S = 3.0


@dataclass(slots=True, kw_only=True)
class Readiness:
    """What a platform asks before it sends requests.

    Attributes:
        draining: the server is about to end: it answers still, and wants no more.
        replicas: how many there are to be, and are.
        trouble: why no replica computes; empty where one does.
    """

    draining: bool = False
    replicas: ReplicaCounts = field(default_factory=ReplicaCounts)
    trouble: str = ""

    def find_objection(self, standing: ServingState) -> str:
        """Why no requests should be sent here; empty where they should."""
        if self.draining:
            return "the server is about to end"
        if standing.answering.get("champion") is None:
            return "no version is loaded yet"
        return self.trouble

    async def watch_forever(self, scorer: Scorer, batcher: Batcher, every_s: float = CHECK_S) -> None:
        """Asks the replicas again and again."""
        while True:
            await self.check_replicas(scorer, batcher)
            await asyncio.sleep(every_s)

    async def check_replicas(self, scorer: Scorer, batcher: Batcher, limit_s: float = CHECK_LIMIT_S) -> None:
        """Asks the replicas once; a batch that was answered meanwhile says as much as they would."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(limit_s):
                self.replicas = await scorer.count_replicas()
            self.trouble = ""
        except (ReplicaError, TimeoutError) as error:
            if batcher.answered_at < began:
                self.trouble = f"no replica answered within {limit_s:g} s"
                log.debug("the replicas were asked in vain: %s", error)
