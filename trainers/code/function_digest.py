"""What a function that has no module of its own depends on: its text, and what it uses of other cells."""

from __future__ import annotations

import hashlib
import inspect
import json
import textwrap
from collections.abc import Iterator
from types import CodeType, FunctionType, ModuleType
from typing import Any

from trainers.code.digest import code_bytes, is_user_code, module_digests, text_digest

_MOST_CHARACTERS = 100_000  # of a value that is compared: longer ones are data, read anew each time


def function_digest(function: FunctionType) -> str:
    """64 hex digits over a function of a notebook's cell or a shell, and all that it uses by name there.

    Those are other functions and classes of the cells, however indirectly, the files of people's own modules,
    and values of plain types (a rate, a list of widths). What else travels with it (a table, a tensor) is
    its data and does not count.
    """
    parts: dict[str, bytes] = {}
    waiting: list[tuple[str, Any]] = [("", function)]
    while waiting:
        name, thing = waiting.pop()
        if name in parts:
            continue
        if isinstance(thing, FunctionType | type) and thing.__module__ == function.__module__:
            parts[name] = _source_digest(thing)
            waiting += _names_used(thing)
        elif isinstance(thing, FunctionType | type | ModuleType):
            parts |= _module_parts(thing)
        elif (text := _write_value(thing)) is not None:
            parts[name] = text.encode()
    own = parts.pop("")
    if not parts:
        return own.hex()
    digest = hashlib.sha256(own)
    for name, part in sorted(parts.items()):
        digest.update(f"{name} {len(part)}\n".encode() + part)
    return digest.hexdigest()


def _source_digest(thing: FunctionType | type) -> bytes:
    """Over its syntax; over its instructions where its source is gone."""
    try:
        return text_digest(textwrap.dedent(inspect.getsource(thing)).encode())
    except (OSError, TypeError):
        return hashlib.sha256(code_bytes(thing)).digest()


def _names_used(thing: FunctionType | type) -> Iterator[tuple[str, Any]]:
    """Globals, what is closed over and base classes, by name."""
    if isinstance(thing, type):
        yield from ((base.__name__, base) for base in thing.__bases__ if base is not object)
    members = vars(thing).values() if isinstance(thing, type) else [thing]
    for function in (inspect.unwrap(m) for m in members if isinstance(m, FunctionType)):
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=False)
        for name, cell in cells:
            try:
                yield name, cell.cell_contents
            except ValueError:  # not bound yet
                continue
        known = function.__globals__
        yield from ((name, known[name]) for name in _names_in(function.__code__) if name in known)


def _names_in(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names_in(inner)


def _module_parts(thing: FunctionType | type | ModuleType) -> dict[str, bytes]:
    """The files of a module of people's own; nothing of what is installed or ours, which has a version."""
    if not isinstance(thing, ModuleType) and not is_user_code(thing):
        return {}
    return module_digests(thing.__name__ if isinstance(thing, ModuleType) else thing.__module__)


def _write_value(value: Any) -> str | None:
    try:
        text = json.dumps(value, sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        return None
    return text if len(text) <= _MOST_CHARACTERS else None
