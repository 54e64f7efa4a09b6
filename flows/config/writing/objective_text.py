"""A first sweep file for an Optuna objective: its space as traced, and what its study said."""

from __future__ import annotations

import inspect
import json
import re
import sys
from pathlib import Path

from flows.config.writing.sweep_text import SCHEMA_FILE
from trainers.data.sources.schemes import SCHEMES
from trainers.errors import InputError
from trainers.functions.tracing import trace_objective
from trainers.registry import is_function, load_reference
from trainers.types import Json

_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", re.ASCII)
_DIRECTION = re.compile(r"""direction\s*=\s*["'](maximize|minimize)["']""")
_DIRECTIONS = re.compile(r"directions\s*=\s*[\[(]([^\])]*)[\])]")


def is_objective(source: str) -> bool:
    """Whether the text names code (`module:function`), and neither a data source nor a file."""
    scheme = source.partition(":")[0]
    return bool(_REFERENCE.fullmatch(source)) and scheme not in SCHEMES and not Path(source).exists()


def objective_text(name: str, reference: str) -> str:
    """The sweep file of an objective that lies in the current folder, or is installed.

    Raises:
        InputError: it cannot be imported or traced.
    """
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, folder)
    objective = load_reference(reference)
    if not is_function(objective):
        raise InputError(f"{reference} must be a function", "a class", "name an objective")
    traced = trace_objective(objective)
    lines = [
        f"# yaml-language-server: $schema={SCHEMA_FILE}",
        f"name: {name}",
        "data: {source: none}",
        _goals_text(_source_of(objective), traced.goals),
        "budget: {trials: 20, epochs: 10}   # epochs: how many reports a trial makes at most",
        "families:",
        f"  {reference}:",
        "    space:",
        *(f"      {parameter}: {_flow(definition)}" for parameter, definition in traced.space.items()),
    ]
    return "\n".join(lines) + "\n"


def _goals_text(source: str, count: int) -> str:
    """The line of what trials are judged by: one number, or as many as the objective returns."""
    one, several = _DIRECTION.search(source), _DIRECTIONS.search(source)
    written = re.findall("maximize|minimize", several.group(1)) if several else []
    directions = ([one.group(1)] if one else []) if count == 1 else written
    known = len(directions) == count
    why = "as its study has it" if known else "Optuna's own default: correct it where the study says maximize"
    goals = [
        f"{{metric: {'value' if count == 1 else f'value_{at}'}, direction: {direction}}}"
        for at, direction in enumerate(directions if known else ["minimize"] * count)
    ]
    return f"objective: {goals[0] if count == 1 else '[' + ', '.join(goals) + ']'}   # {why}"


def _source_of(objective: object) -> str:
    module = inspect.getmodule(objective)
    return Path(module.__file__).read_text(errors="replace") if module and module.__file__ else ""


def _flow(value: Json) -> str:
    """As YAML on one line; numbers keep a point, which YAML 1.1 wants before an exponent."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, float) and "e" in repr(value) and "." not in repr(value):
        return repr(value).replace("e", ".0e")
    return json.dumps(value)
