"""One request from its body to its answer: who answers it, who is asked beside, what is counted."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeAlias

from infra.serving.alias_follower import ServingState
from infra.serving.batching import Batcher
from infra.serving.exchange import Exchange
from infra.serving.limits import RequestLimits, ScoringError, bad_request
from infra.serving.metrics import ServingMetrics
from infra.serving.model_schema import Field, ModelSchema
from infra.serving.routing import Canary, CanaryRule, agreement
from infra.serving.scoring import Answer
from infra.serving.scoring_protocol import RequestRows
from trainers.types import Cell

log = logging.getLogger("velodrome.serving")

SHADOWS_AT_ONCE = 64
LARGE_BODY = 64 * 1024  # parsed in a thread, so that others' small requests go on


RowsReader: TypeAlias = "Callable[[Sequence[Field]], RequestRows]"


class Observer(Protocol):
    """Somebody who is shown what was answered; quick, for the next request waits meanwhile."""

    def observe(
        self,
        version: str,
        schema: ModelSchema,
        rows: RequestRows,
        records: Sequence[Mapping[str, Cell]],
        request_id: str,
    ) -> None:
        """A version has answered rows, each with a record."""


class ScoringService:
    """Answers requests with the versions that stand."""

    def __init__(
        self,
        batcher: Batcher,
        standing: ServingState,
        limits: RequestLimits,
        *,
        shadow: bool = False,
        canary: CanaryRule | None = None,
        observers: Sequence[Observer] = (),
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Prepares.

        Args:
            shadow: whether the challenger gets every request too, without being heard.
            canary: the challenger's share of the requests, where it has one.
            observers: shown every answer.
            say: told when the challenger loses its share.
        """
        self._batcher, self.standing, self.limits = batcher, standing, limits
        self.figures = ServingMetrics(batcher, standing)
        self.canary = Canary(rule=canary or CanaryRule(percent=0.0))
        self._shadow, self._say, self._observers = shadow, say, observers
        self._shadows: set[asyncio.Task[None]] = set()

    async def score(
        self, read: RowsReader, body_bytes: int, exchange: Exchange, *, version: str | None = None
    ) -> Answer:
        """Answers the rows of a request; what is known of it by then stands in `exchange`, errors or not.

        Args:
            read: gives the rows, as the model's columns want them.
            body_bytes: how much there is to read.
            version: the one that must answer; by default the champion, or the challenger for its share.

        Raises:
            ScoringError: it cannot be answered.
        """
        asked = exchange.version = version or self.standing.answering.get("champion")
        if asked is None:
            raise ScoringError(503, "no version answers yet")
        began = time.perf_counter()
        try:
            rows = await self._read_request(read, body_bytes, asked)
        finally:
            exchange.read_s = time.perf_counter() - began
        exchange.rows = rows.count
        if version is None:
            asked, answer = await self._answer_rows(asked, rows)
            exchange.version = asked
        else:
            answer = _heard(await self._batcher.answer(version, rows))
        self.figures.count_rows(asked, rows.count)
        if self._observers:
            await self._show_observers(asked, rows, answer, exchange)
        return answer

    async def await_shadows(self) -> None:
        """Waits for the challenger's unheard answers."""
        await asyncio.gather(*self._shadows, return_exceptions=True)

    async def _show_observers(
        self, version: str, rows: RequestRows, answer: Answer, exchange: Exchange
    ) -> None:
        schema = self.standing.schemas.get(version)
        if schema is None:
            return
        content = answer.content
        large = len(content) >= LARGE_BODY
        records = await asyncio.to_thread(json.loads, content) if large else json.loads(content)
        for observer in self._observers:
            try:
                observer.observe(version, schema, rows, records, exchange.request_id)
            except Exception as error:  # whatever it cannot read: the answer is there, and goes out
                log.debug("an answer was not observed", exc_info=error)

    async def _read_request(self, read: RowsReader, body_bytes: int, version: str) -> RequestRows:
        schema = self.standing.schemas.get(version)
        fields = [] if schema is None else schema.fields
        return read(fields) if body_bytes < LARGE_BODY else await asyncio.to_thread(read, fields)

    async def _answer_rows(self, champion: str, rows: RequestRows) -> tuple[str, Answer]:
        challenger = self.standing.answering.get("challenger")
        self.canary.set_version(challenger)
        tried = challenger is not None and self.canary.takes_next()
        if tried and challenger is not None:
            heard = await self._try_challenger(challenger, rows)
            if heard is not None:
                self._record_canary(challenger, failed=False)
                return challenger, heard
        answer = await self._batcher.answer(champion, rows)
        if tried and challenger is not None and answer.reason is None:
            self._record_canary(
                challenger, failed=True
            )  # what the champion can answer, it should have answered
        if self._shadow and challenger is not None:
            self._start_shadow(challenger, rows, answer)
        return champion, _heard(answer)

    async def _try_challenger(self, challenger: str, rows: RequestRows) -> Answer | None:
        """The challenger's answer, soon enough for the champion to answer instead; None where it has none."""
        try:
            answer = await self._batcher.answer(challenger, rows, limit_s=self.limits.answer_s / 3)
        except ScoringError:
            return None
        return answer if answer.reason is None else None

    def _record_canary(self, challenger: str, *, failed: bool) -> None:
        self.figures.count_canary_request("failed" if failed else "answered")
        if self.canary.record_outcome(failed=failed):
            self._say(f"{challenger} failed too often and gets no requests any longer")

    def _start_shadow(self, challenger: str, rows: RequestRows, heard: Answer) -> None:
        if len(self._shadows) >= SHADOWS_AT_ONCE:
            self.figures.count_shadow_rows("skipped", rows.count)
            return
        task = asyncio.create_task(self._compare_shadow(challenger, rows, heard))
        self._shadows.add(task)
        task.add_done_callback(self._shadows.discard)

    async def _compare_shadow(self, challenger: str, rows: RequestRows, heard: Answer) -> None:
        try:
            unheard = await self._batcher.answer(challenger, rows)
        except ScoringError:
            unheard = Answer(reason="not answered")
        if heard.reason is not None or unheard.reason is not None:
            both = heard.reason is not None and unheard.reason is not None
            self.figures.count_shadow_rows("agreed" if both else "failed", rows.count)
            return
        same = agreement(json.loads(heard.content), json.loads(unheard.content))
        self.figures.count_shadow_rows("agreed", sum(same))
        self.figures.count_shadow_rows("differed", len(same) - sum(same))


def _heard(answer: Answer) -> Answer:
    """The answer, where it is one."""
    if answer.reason is not None:
        raise bad_request(answer.reason)
    return answer
