"""A command's words for one configuration."""

from __future__ import annotations

import glob
import json
import math
import re
import shlex
import sys
from collections.abc import Mapping
from decimal import Decimal

from trainers.commands.options import PLACEHOLDER, CommandOptions
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
    """The words of `resume` where every file below the directory that they name, or `resume_from`, is there;
    else none."""
    words = shlex.split(options.resume)
    directory = glob.escape(str(values["directory"]))
    paths = [word[word.index("${directory}") :] for word in words if "${directory}" in word]
    if options.resume_from is not None:
        paths = [f"${{directory}}/{options.resume_from}"]
    found = [glob.glob(_replace(path, options, params, {**values, "directory": directory})) for path in paths]
    if not paths or not all(found):
        return []
    return [_replace(word, options, params, values) for word in words]


def argument_words(form: str, params: Params) -> list[str]:
    """What `${args}` stands for.

    With dashes a true flag is `--name`, a false one and a null are left out, and a list is one word for each
    value, as argparse reads them; with switches a false flag is `--no-name`. After an equals sign a flag and
    a null are written as Python has them: Fire and `literal_eval` take `false` for a text, which is true.
    """
    words: list[str] = []
    for name, value in params.items():
        if form == "hydra":
            words.append(f"{name}={_hydra_text(value)}")
        elif form == "equals":
            words.append(f"--{name}={_python_text(value)}")
        elif form in ("dashes", "switches"):
            words.extend(_dashed_words(name, value, negated=form == "switches"))
    return words


def _dashed_words(name: str, value: Json, *, negated: bool) -> list[str]:
    if value is None or value is False:
        return [f"--no-{name}"] if value is False and negated else []
    if value is True:
        return [f"--{name}"]
    if isinstance(value, str) and value.startswith("-"):  # else it is taken for an option
        return [f"--{name}={value}"]
    return [f"--{name}", *map(value_text, value if isinstance(value, list) else [value])]


def _python_text(value: Json, *, inner: bool = False) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_python_text(part, inner=True) for part in value)}]"
    if isinstance(value, str) and inner:
        return json.dumps(value)
    return str(value) if value is None or isinstance(value, bool) else value_text(value)


def value_text(value: Json) -> str:
    """A value as one word: texts as they are, numbers and the rest as JSON.

    A negative number has no exponent: argparse takes -1e-05 for an option.
    """
    if isinstance(value, float) and value < 0 and math.isfinite(value):
        return format(Decimal(repr(value)), "f")
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
