"""Calls from many threads, answered in turn; those that wait at once are answered together, so that what each
of them writes is one commit (group commit, DeWitt et al. 1984)."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Event = TypeVar("Event")


@dataclass(slots=True)
class PendingCall(Generic[Event]):
    """A call that waits, and what came of it."""

    event: Event
    answer: Any = None
    error: BaseException | None = None
    over: bool = False


class GroupCommit(Generic[Event]):
    """One group of calls at a time; within a group, in the order in which they came."""

    def __init__(self, answer_all: Callable[[Sequence[PendingCall[Event]]], None]) -> None:
        """Starts nothing.

        Args:
            answer_all: gives each of a group its answer; what it raises goes to every caller of the group.
        """
        self._answer_all = answer_all
        self._lock = threading.Lock()
        self._waiting: deque[PendingCall[Event]] = deque()

    def call(self, event: Event) -> Any:
        """The answer to one call, however many come with it.

        Raises:
            BaseException: what answering its group raised.
        """
        asked = PendingCall(event)
        self._waiting.append(asked)
        with self._lock:
            if not asked.over:  # nobody who had the turn before took it along
                self._answer_group([self._waiting.popleft() for _ in range(len(self._waiting))])
        if asked.error is not None:
            raise asked.error
        return asked.answer

    def _answer_group(self, group: Sequence[PendingCall[Event]]) -> None:
        try:
            self._answer_all(group)
        except BaseException as error:  # it belongs to the callers, each in a thread of its own; none may
            # take the lack of an answer for one
            for asked in group:
                asked.error = error
        finally:
            for asked in group:
                asked.over = True

    @contextmanager
    def exclusive_access(self, limit_s: float) -> Iterator[bool]:
        """A moment in which no group is being answered; False where none came within the limit."""
        mine = self._lock.acquire(timeout=limit_s)
        try:
            yield mine
        finally:
            if mine:
                self._lock.release()
