"""The keys of `data.read`, each refused by its name where its value has no meaning."""

from __future__ import annotations

from collections.abc import Mapping

from trainers.errors import InputError
from trainers.types import Json

READ = ("delimiter", "encoding", "decimal", "thousands", "header", "names", "comment", "quote")
KEY = ("data", "read")


def text_option(said: Mapping[str, Json], name: str) -> str | None:
    """The text of a key, None where it is not there."""
    value = said.get(name)
    if value is not None and not (isinstance(value, str) and value):
        raise InputError(f"data.read.{name} must be text", repr(value), key=(*KEY, name))
    return value


def mark_option(said: Mapping[str, Json], name: str) -> str | None:
    """The same of one that is a single mark in numbers."""
    value = text_option(said, name)
    if value is not None and (len(value) != 1 or value.isalnum() or value in "+-"):
        must = f"data.read.{name} must be one character, no letter, digit or sign"
        raise InputError(must, repr(value), key=(*KEY, name))
    return value


def quote_option(said: Mapping[str, Json]) -> str:
    """The mark around fields; empty where there is none."""
    value = said.get("quote", True)
    if isinstance(value, bool):
        return '"' if value else ""
    if not (isinstance(value, str) and len(value) == 1 and 32 < ord(value) < 127 and not value.isalnum()):
        must = "data.read.quote must be true, false or the mark itself, one sign of ASCII"
        raise InputError(must, repr(value), key=(*KEY, "quote"))
    return value
