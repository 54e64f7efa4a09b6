"""A mapping of Python's own values as the text of a sweep file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import yaml

from infra.errors import WrongInput
from trainers.types import Json

GIVEN = "the mapping"  # what messages call it


class _Dumper(yaml.SafeDumper):
    """Writes a value that occurs twice twice: a sweep file has no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def mapping_text(given: Mapping[str, Any]) -> str:
    """The mapping as YAML.

    Raises:
        WrongInput: it holds something that no file could.
    """
    text: str = yaml.dump(_plain_value(given, ()), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


def _plain_value(value: Any, path: tuple[str, ...]) -> Json:
    if isinstance(value, Mapping):
        return {str(key): _plain_value(entry, (*path, str(key))) for key, entry in value.items()}
    if isinstance(value, (list, tuple, range, set, frozenset)):
        entries = sorted(value) if isinstance(value, (set, frozenset)) else value
        return [_plain_value(entry, (*path, str(place))) for place, entry in enumerate(entries)]
    if hasattr(value, "tolist"):  # numpy's scalars and arrays
        return _plain_value(value.tolist(), path)
    if isinstance(value, PurePath):
        return str(value)
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    must = f"{GIVEN}: {'.'.join(path) or 'it'} must hold texts, numbers, lists and mappings"
    raise WrongInput(must, f"{type(value).__name__}: {value!r:.80}", "write it as a sweep file would have it")
