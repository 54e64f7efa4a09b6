"""What the models hash to that families begin with: other bytes at the same place make another sweep."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from trainers.errors import InputError
from trainers.pretrained.hub import find_folder, is_file
from trainers.registry import BUILT_IN, load_reference
from trainers.types import Document, Json
from trainers.user_paths import expand_user

_LARGE_BYTES = 16 << 20
_OPTIONS = {"pretrained": "sha256", "auto": "", "encoder": "encoder_sha256"}
"""The options that name a file or a folder of weights, and the one that says what it must hash to."""


def hash_weights(reference: str, options: Mapping[str, Json], space: Document) -> dict[str, str]:
    """SHA-256 by the name of each file or folder that a family's options, or choices of its space, begin
    with; nothing of a function, whose parameters mean what it makes of them.

    Those whose hash is an option are left out, as training itself refuses others. What is not there has an
    empty text: its family says what to do.
    """
    code = load_reference(reference)
    if not isinstance(code, type):
        return {}
    named = dict.fromkeys(_named_models(options, space, code.chosen))
    return {name: _hash_model(name, on_hub=reference in BUILT_IN) for name in named}


def _named_models(options: Mapping[str, Json], space: Document, chosen: Collection[str]) -> Iterator[str]:
    for option, hashed_by in _OPTIONS.items():
        named: list[Any] = [] if options.get(hashed_by) else [options.get(option)]
        for parameter in space.get("parameters", ()):
            if parameter["name"] == option and option in chosen:
                named += parameter.get("choices", [parameter.get("value")])
        yield from (name for name in named if isinstance(name, str) and name)


def _hash_model(name: str, *, on_hub: bool) -> str:
    try:
        place = expand_user(name)
        if on_hub and not place.exists() and not is_file(name):
            place = find_folder(name)
        files = [place] if place.is_file() else sorted(p for p in place.iterdir() if p.is_file())
        digest = hashlib.sha256()
        for path in files:
            digest.update(f"{path.name} ".encode() + _hash_file(path))
    except (InputError, OSError):
        return ""
    return digest.hexdigest()


def _hash_file(path: Path) -> bytes:
    known = path.stat()
    if known.st_size < _LARGE_BYTES:
        return hashlib.sha256(path.read_bytes()).digest()
    return _hash_large(path, known.st_size, known.st_mtime_ns)


@lru_cache(maxsize=64)  # a command checks its file more than once, and a gigabyte takes a second
def _hash_large(path: Path, size_bytes: int, changed_ns: int) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
