"""One request from its body to its answer: who answers it, who is asked beside, what is counted."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from infra.serving.alias_follower import ServingState
from infra.serving.batching import Batcher
from infra.serving.limits import RequestLimits, ScoringError, bad_request
from infra.serving.metrics import ServingMetrics
from infra.serving.routing import Canary, CanaryRule, agreement
from infra.serving.scoring import Answer
from infra.serving.scoring_protocol import RequestRows, read_rows

SHADOWS_AT_ONCE = 64
LARGE_BODY = 64 * 1024  # parsed in a thread, so that others' small requests go on


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What is sent back.

    Attributes:
        version: the one that answered, None where none was asked.
        read_s: seconds that reading the request's body took.
    """

    status: int
    body: bytes
    version: str | None = None
    read_s: float = 0.0


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
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Prepares.

        Args:
            shadow: whether the challenger gets every request too, without being heard.
            canary: the challenger's share of the requests, where it has one.
            say: told when the challenger loses its share.
        """
        self._batcher, self.standing, self.limits = batcher, standing, limits
        self.figures = ServingMetrics(batcher, standing)
        self.canary = Canary(rule=canary or CanaryRule(percent=0.0))
        self._shadow, self._say = shadow, say
        self._shadows: set[asyncio.Task[None]] = set()

    async def invoke(self, body: bytes, content_type: str) -> Reply:
        """Answers a body of `/invocations`; never raises for what is in it."""
        started = time.perf_counter()
        champion = self.standing.answering.get("champion")
        count, read_at = 0, 0.0
        try:
            if champion is None:
                raise ScoringError(503, "no version answers yet")
            rows = await self._read_request(body, content_type, champion)
            count, read_at = rows.count, time.perf_counter()
            version, answer = await self._answer_rows(champion, rows)
            reply = Reply(status=200, body=b'{"predictions": %b}' % answer.content, version=version)
        except ScoringError as error:
            read_s = (read_at or time.perf_counter()) - started
            reply = Reply(status=error.status, body=error_body(error), version=champion, read_s=read_s)
        self.figures.count_request(reply.version, reply.status, count, time.perf_counter() - started)
        return reply

    async def await_shadows(self) -> None:
        """Waits for the challenger's unheard answers."""
        await asyncio.gather(*self._shadows, return_exceptions=True)

    async def _read_request(self, body: bytes, content_type: str, champion: str) -> RequestRows:
        fields = self.standing.fields.get(champion, [])
        if len(body) < LARGE_BODY:
            return read_rows(body, content_type, fields, self.limits)
        return await asyncio.to_thread(read_rows, body, content_type, fields, self.limits)

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
        if answer.reason is not None:
            raise bad_request(answer.reason)
        return champion, answer

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


_CODES = {
    400: "BAD_REQUEST", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "ENDPOINT_NOT_FOUND",
    405: "METHOD_NOT_ALLOWED", 408: "REQUEST_TIMEOUT", 413: "REQUEST_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE", 503: "TEMPORARILY_UNAVAILABLE",
}  # fmt: skip


def error_body(error: ScoringError) -> bytes:
    """As MLflow's scoring server words its errors."""
    document = {"error_code": _CODES.get(error.status, "INTERNAL_ERROR"), "message": error.reason}
    return json.dumps(document).encode()
