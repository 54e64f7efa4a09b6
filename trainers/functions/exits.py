"""Own code that ends the process it runs in, otherwise than by an exception."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import NoReturn

_exit, _abort = os._exit, os.abort  # whatever stands in their place while code is looked after


class ProcessExit(BaseException):
    """Code would have ended this process; no `except Exception` of its own may swallow it."""


@contextmanager
def note_exits(tell: Callable[[str], object]) -> Iterator[None]:
    """Where code within ends this process, `tell` gets how, just before. Processes that are forked from it
    end as they do; a signal or native code leaves no time for a word."""
    own = os.getpid()

    def say(how: str) -> None:
        if os.getpid() == own:
            with suppress(Exception):  # the process ends either way
                tell(how)

    def leave(status: int) -> NoReturn:
        say(f"with status {status} (os._exit, or a library that exits)")
        _exit(status)

    def abort() -> NoReturn:
        say("by os.abort")
        _abort()

    os._exit, os.abort = leave, abort
    try:
        yield
    finally:
        os._exit, os.abort = _exit, _abort


def refuse_exits() -> AbstractContextManager[None]:
    """Where code within would end this process, it raises `ProcessExit` instead: a notebook lives on."""
    return note_exits(_refuse)


def _refuse(how: str) -> None:
    raise ProcessExit(f"it would have ended its process {how}")
