"""The file system, failing at one call: the 1st, the 2nd, … of those that writing makes."""

from __future__ import annotations

import builtins
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

CALLS = ("open", "fsync", "rename", "mkdir", "listdir")

Happens = Callable[[str, Callable[[], object]], None]


@contextmanager
def at_call(nth: int, happens: Happens) -> Iterator[list[str]]:
    """Lets something happen instead of the nth call; gives the names of the calls so far.

    Args:
        nth: from 1, among `open`, `write`, `fsync`, `rename`, `mkdir`, `listdir`.
        happens: gets the call's name, and what does half of it where there is such a thing: half of the
            bytes of a write. If it returns, the call is made.
    """
    calls: list[str] = []

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            if len(calls) == nth:
                happens(name, lambda: _half(real, args) if name == "write" else None)
            return real(*args, **kwargs)

        return call

    real_open = builtins.open

    def opened(*args: Any, **kwargs: Any) -> Any:
        file = real_open(*args, **kwargs)
        return _WriteShim(file, counted("write", file.write)) if "x" in str(args[1:]) else file

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtins, "open", counted("open", opened))
        for name in CALLS:
            patch.setattr(os, name, counted(name, getattr(os, name)))
        yield calls


def _half(write: Callable[..., Any], args: tuple[Any, ...]) -> None:
    content = args[0]
    write(content[: len(content) // 2])


class _WriteShim:
    def __init__(self, file: Any, write: Callable[..., Any]) -> None:
        self._file, self.write = file, write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _WriteShim:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
