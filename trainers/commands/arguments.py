"""A command's words for one configuration."""

from __future__ import annotations

import glob
import json
import re
import shlex
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from trainers.commands.options import PLACEHOLDER, CommandOptions

if TYPE_CHECKING:
    from trainers.types import Json, Params

_PYTHON = ("python", "python3")


def command_words(options: CommandOptions, params: Params, values: Mapping[str, Json]) -> list[str]:
    """The words to call, without those of `resume`. `python` is the interpreter that Velodrome runs in.

    Args:
        values: what is ours: `directory`, `seed`, …; a parameter of the same name goes before it.
    """
    words: list[str] = []
    for word in shlex.split(options.command):
        if word == "${args}":
            words.extend(argument_words(options.args, params))
        else:
            words.append(_replace(word, options, params, values))
    if words[0] in _PYTHON:
        words[0] = sys.executable
    return words


def resume_words(options: CommandOptions, params: Params, values: Mapping[str, Json]) -> list[str]:
    """The words of `resume` where every file below the directory that they name is there; else none."""
    words = shlex.split(options.resume)
    directory = glob.escape(str(values["directory"]))
    paths = [word[word.index("${directory}") :] for word in words if "${directory}" in word]
    found = [glob.glob(_replace(path, options, params, {**values, "directory": directory})) for path in paths]
    if not paths or not all(found):
        return []
    return [_replace(word, options, params, values) for word in words]


def argument_words(form: str, params: Params) -> list[str]:
    """What `${args}` stands for.

    With dashes a true flag is `--name`, a false one and a null are left out, and a list is one word for each
    value, as argparse reads them.
    """
    words: list[str] = []
    for name, value in params.items():
        if form == "hydra":
            words.append(f"{name}={_hydra_text(value)}")
        elif value is True and form == "dashes":
            words.append(f"--{name}")
        elif value is None or (value is False and form == "dashes"):
            continue
        elif form == "equals":
            words.append(f"--{name}={value_text(value)}")
        elif form == "dashes":
            parts = value if isinstance(value, list) else [value]
            words.extend([f"--{name}", *map(value_text, parts)])
    return words


def value_text(value: Json) -> str:
    """A value as one word: texts as they are, numbers and the rest as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _hydra_text(value: Json) -> str:
    if isinstance(value, str) and not re.fullmatch(r"[\w./+-]+", value):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return json.dumps(value, separators=(",", ":")) if not isinstance(value, str) else value


def _replace(word: str, options: CommandOptions, params: Params, values: Mapping[str, Json]) -> str:
    def text(match: re.Match[str]) -> str:
        name = match.group(1)
        if name == "args" and name not in params:
            return shlex.join(argument_words(options.args, params))
        return value_text(params[name] if name in params else values[name])

    return PLACEHOLDER.sub(text, word)
