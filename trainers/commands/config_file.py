"""The file that a command reads its configuration from, with a trial's own values in it."""

from __future__ import annotations

import json
import os
from pathlib import Path

from trainers.errors import InputError
from trainers.nearest import advice
from trainers.types import Json, Params

SUFFIXES = (".yaml", ".yml", ".json")


def write_config(given: Path, made: Path, params: Params) -> None:
    """Writes the file anew with each parameter in its place; `model.width` is `width` below `model`.

    Raises:
        InputError: the file cannot be read, or has no such place: whoever reads it would not find the value.
    """
    import yaml  # where a logged model answers there is none

    is_json = given.suffix == ".json"
    try:
        text = given.read_text()
        values = json.loads(text) if is_json else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        found = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        must = f"config must be a file of {' or '.join(SUFFIXES)} that can be read"
        raise InputError(
            must, found, "write its path from where the sweep is run", key=("config",)
        ) from error
    for name, value in params.items():
        _place(values, name, value, given.name)
    whole = json.dumps(values, indent=2) if is_json else yaml.safe_dump(values, sort_keys=False)
    new = made.with_name(f".{made.name}-{os.getpid()}")  # several ranks write it
    new.write_text(whole)
    new.rename(made)


def _place(values: object, name: str, value: Json, file: str) -> None:
    below, rest = values, name
    while True:
        if isinstance(below, dict) and rest in below:
            below[rest] = value
            return
        first, _, left = rest.partition(".")
        if isinstance(below, dict) and left and first in below:
            below = below[first]
        elif isinstance(below, list) and first.isdigit() and int(first) < len(below):
            if not left:
                below[int(first)] = value
                return
            below = below[int(first)]
        else:
            do = advice(rest, sorted(map(str, below)) if isinstance(below, dict) else [])
            must = f"each parameter must have a place in {file}"
            raise InputError(must, name, f"add it there with any value; {do}", key=("config",))
        rest = left
