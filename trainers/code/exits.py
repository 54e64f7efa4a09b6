"""Own code that ends the process it runs in, otherwise than by an exception."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from types import FrameType
from typing import NoReturn


class ProcessExit(BaseException):
    """Code would have ended this process; no `except Exception` of its own may swallow it."""


@contextmanager
def note_exits(tell: Callable[[str], object]) -> Iterator[None]:
    """Where code within ends this process, `tell` gets how, just before. Processes that are forked from it
    end as they do; a signal or native code leaves no time for a word."""
    own, former_exit, former_abort = os.getpid(), os._exit, os.abort

    def say(how: str) -> None:
        if os.getpid() == own:
            with suppress(Exception):  # the process ends either way
                tell(how)

    def leave(status: int) -> NoReturn:
        say(f"with status {status} (os._exit, or a library that exits)")
        former_exit(status)

    def abort() -> NoReturn:
        say("by os.abort")
        former_abort()

    os._exit, os.abort = leave, abort
    try:
        yield
    finally:
        os._exit, os.abort = former_exit, former_abort


def refuse_exits() -> AbstractContextManager[None]:
    """Where code within would end this process, it raises `ProcessExit` instead: a notebook lives on."""
    return note_exits(_refuse)


def _refuse(how: str) -> None:
    raise ProcessExit(f"it would have ended its process {how}")


@contextmanager
def tell_interrupts_apart() -> Iterator[Callable[[], bool]]:
    """Gives whether a person has interrupted since: code may raise `KeyboardInterrupt` of its own accord."""
    asked: list[int] = []
    former = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(former):
        yield lambda: False  # no other thread is interrupted
        return

    def note(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        former(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(asked)
    finally:
        if signal.getsignal(signal.SIGINT) is note:
            signal.signal(signal.SIGINT, former)
