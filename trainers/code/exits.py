"""Own code that ends the process it runs in, otherwise than by an exception."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from types import FrameType
from typing import NoReturn

from trainers.errors import InputError, cut_words, describe_error

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)


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
def keep_process() -> Iterator[None]:
    """Code within may end neither this process nor the command that waits for it: leaving by anything but an
    `Exception` is an error of the code's. What a signal's handler raises stays what it is.

    Raises:
        InputError: how it would have left.
    """
    with refuse_exits(), tell_interrupts_apart() as was_interrupted:
        try:
            yield
        except Exception:
            raise
        except BaseException as error:
            if was_interrupted():
                raise
            raise InputError(
                "code of your own must return, or raise an exception", describe_exit(error), "correct it"
            ) from error


@contextmanager
def blame_code(must: str) -> Iterator[None]:
    """Whatever code of people's own within raises is its own, in any thread, but for a signal's.

    Raises:
        InputError: `must`, and what it raised.
    """
    with tell_interrupts_apart() as was_interrupted:
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            raise InputError(must, describe_error(error, 300)) from error
        except BaseException as error:
            if was_interrupted():
                raise
            raise InputError(must, describe_exit(error)) from error


def describe_exit(error: BaseException) -> str:
    """How code left, by what is no `Exception`."""
    if isinstance(error, ProcessExit):
        return str(error)
    if isinstance(error, SystemExit):
        return cut_words(f"sys.exit({error.code!r})")
    return f"it raised {describe_error(error)}".removesuffix(": no message")


@contextmanager
def tell_interrupts_apart() -> Iterator[Callable[[], bool]]:
    """Gives whether a signal has come since: what its handler raises is not raised by the code."""
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # no other thread hears of signals
        return
    noting = {number: _note_and_call(signal.getsignal(number), came) for number in _SIGNALS}
    former = {number: signal.signal(number, note) for number, note in noting.items() if note is not None}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in former.items():
            if signal.getsignal(number) is noting[number]:
                signal.signal(number, handler)


def _note_and_call(handler: object, came: list[int]) -> Callable[[int, FrameType | None], None] | None:
    if not callable(handler):  # the system's own
        return None

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)
        handler(number, frame)

    return note
