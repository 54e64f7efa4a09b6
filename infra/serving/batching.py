"""Requests that wait together are answered together.

A batch leaves as soon as a replica has room, with all that waits for the same version by then: nobody waits
for a timer, and under load batches grow by themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from infra.serving.artifact import Artifact
from infra.serving.limits import RequestLimits, ScoringError
from infra.serving.model_schema import ModelSchema
from infra.serving.scoring import Answer, RequestBatch, join_requests
from infra.serving.scoring_protocol import Columns, RequestRows

log = logging.getLogger("velodrome.serving")

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0


class ReplicaError(Exception):
    """A batch was not answered, for no fault of its own: a replica died, or does not have the version."""


class NoReplicaError(ReplicaError):
    """None is up; none has died of this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaCounts:
    """How many replicas there are to be, and how many are up."""

    wanted: int = 0
    running: int = 0


class Scorer(Protocol):
    """Those who compute."""

    async def load(self, artifact: Artifact) -> ModelSchema:
        """Has the version loaded, and proven on its example, by everyone who computes; what it takes and
        gives.

        Raises:
            VelodromeError, TrainerError: it cannot be loaded.
            ReplicaTrouble: nobody was there to load it.
        """

    async def drop(self, key: str) -> None:
        """Lets go of a version."""

    async def count_replicas(self) -> ReplicaCounts:
        """How many are up; waits until one of them has answered.

        Raises:
            ReplicaError: none can.
        """

    async def score(self, key: str, batch: RequestBatch) -> Sequence[Answer]:
        """An answer to each request of the batch.

        Raises:
            ReplicaTrouble: it was not computed, and may be tried again.
        """


@dataclass(slots=True)
class _WaitingRequest:
    rows: RequestRows
    deadline: float
    answer: asyncio.Future[Answer]


@dataclass(slots=True)
class _Queue:
    key: str
    names: tuple[str, ...]
    waiting: deque[_WaitingRequest] = field(default_factory=deque)


class Batcher:
    """Takes requests, one at a time, and gives them to a scorer in batches.

    Attributes:
        waiting_rows: of requests that no replica has yet.
        batches, batched_rows: how many have been sent so far.
        retries: batches that were sent once more, because a replica had died.
        answered_at: when the last batch was answered, of `time.monotonic`.
    """

    def __init__(self, scorer: Scorer, limits: RequestLimits, *, at_once: int) -> None:
        """Prepares.

        Args:
            at_once: batches of one version that are computed or on their way at the same time; a version that
                hangs holds up no other.
        """
        self._scorer, self._limits, self._at_once = scorer, limits, at_once
        self._busy: Counter[str] = Counter()
        self._queues: dict[tuple[str, tuple[str, ...]], _Queue] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.waiting_rows = self.batches = self.batched_rows = self.retries = 0
        self.answered_at = 0.0

    async def answer(self, key: str, rows: RequestRows, *, limit_s: float | None = None) -> Answer:
        """The version's answer to these rows.

        Args:
            limit_s: until then; by default as long as a request may take.

        Raises:
            ScoringError: 503, where too much waits already or no replica answered in time.
        """
        if self.waiting_rows + rows.count > self._limits.waiting_rows:
            raise ScoringError(503, f"{self.waiting_rows} rows are waiting already; try again later")
        limit_s = self._limits.answer_s if limit_s is None else limit_s
        waiting = _WaitingRequest(
            rows, time.monotonic() + limit_s, asyncio.get_running_loop().create_future()
        )
        self._enqueue(key, waiting)
        self._dispatch()
        try:
            async with asyncio.timeout(limit_s):
                return await waiting.answer
        except TimeoutError:
            raise ScoringError(503, f"no answer within {limit_s:g} s") from None

    async def close(self) -> None:
        """Ends what is on its way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _enqueue(self, key: str, waiting: _WaitingRequest) -> None:
        names = tuple(waiting.rows.columns)
        queue = self._queues.setdefault((key, names), _Queue(key, names))
        queue.waiting.append(waiting)
        self.waiting_rows += waiting.rows.count

    def _dispatch(self) -> None:
        for queue in list(self._queues.values()):
            while queue.waiting and self._busy[queue.key] < self._at_once:
                self._start_batch(queue.key, self._take_batch(queue))
            if not queue.waiting:
                del self._queues[queue.key, queue.names]

    def _start_batch(self, key: str, taken: list[_WaitingRequest]) -> None:
        if taken:
            self._busy[key] += 1
            task = asyncio.create_task(self._run_batch(key, taken))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _take_batch(self, queue: _Queue) -> list[_WaitingRequest]:
        taken: list[_WaitingRequest] = []
        rows = 0
        while queue.waiting:
            count = queue.waiting[0].rows.count
            if taken and rows + count > self._limits.batch_rows:
                break
            waiting = queue.waiting.popleft()
            self.waiting_rows -= count
            if not waiting.answer.done():  # whoever asked may be gone
                taken.append(waiting)
                rows += count
        return taken

    async def _run_batch(self, key: str, taken: list[_WaitingRequest]) -> None:
        requests: list[tuple[Columns, int]] = [(w.rows.columns, w.rows.count) for w in taken]
        batch = join_requests(requests)
        self.batches += 1
        self.batched_rows += sum(batch.sizes)
        try:
            answers = await self._score_with_retries(key, batch, max(w.deadline for w in taken))
            self.answered_at = time.monotonic()
            for waiting, found in zip(taken, answers, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(found)
        except Exception as error:  # the boundary to whatever computes: every request gets an end
            for waiting in taken:
                if not waiting.answer.done():
                    waiting.answer.set_exception(_as_scoring_error(error))
        finally:
            self._busy[key] -= 1
            self._dispatch()

    async def _score_with_retries(self, key: str, batch: RequestBatch, deadline: float) -> Sequence[Answer]:
        """Answers never change anything, so a batch that a dying replica held is sent again."""
        pause = FIRST_PAUSE_S
        while True:
            left = deadline - time.monotonic()
            try:
                async with asyncio.timeout(left):
                    return await self._scorer.score(key, replace(batch, limit_s=left))
            except ReplicaError:
                if time.monotonic() + pause > deadline:
                    raise
                self.retries += 1
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_S)


def _as_scoring_error(error: Exception) -> ScoringError:
    with contextlib.suppress(Exception):
        log.warning("a batch was not answered: %s: %s", type(error).__name__, error)
    if isinstance(error, ScoringError):
        return error
    if isinstance(error, (TimeoutError, ReplicaError, MemoryError)):
        return ScoringError(503, "no replica could answer in time; try again, with fewer rows")
    return ScoringError(500, "the model failed on this batch; the server's log says how")
