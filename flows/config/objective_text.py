"""A first sweep file for an Optuna objective: its space as traced, and what its study said."""

from __future__ import annotations

import inspect
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from trainers.data.sources.schemes import SCHEMES
from trainers.errors import InputError
from trainers.functions.tracing import trace_space
from trainers.registry import is_function, load_reference

if TYPE_CHECKING:
    from trainers.types import Json

_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", re.ASCII)
_DIRECTION = re.compile(r"""direction\s*=\s*["'](maximize|minimize)["']""")


def is_objective(source: str) -> bool:
    """Whether the text names code (`module:function`), and neither a data source nor a file."""
    scheme = source.partition(":")[0]
    return bool(_REFERENCE.fullmatch(source)) and scheme not in SCHEMES and not Path(source).exists()


def objective_text(name: str, reference: str, schema: str) -> str:
    """The sweep file of an objective that lies in the current folder, or is installed.

    Raises:
        InputError: it cannot be imported or traced.
    """
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, folder)
    objective = load_reference(reference)
    if not is_function(objective):
        raise InputError(f"{reference} must be a function", "a class", "name an objective")
    space = trace_space(objective)
    found = _DIRECTION.search(_source_of(objective))
    direction = found.group(1) if found else "minimize"
    why = "as its study has it" if found else "Optuna's own default: correct it where the study says maximize"
    lines = [
        f"# yaml-language-server: $schema={schema}",
        f"name: {name}",
        "data: {source: none}",
        f"objective: {{metric: value, direction: {direction}}}   # {why}",
        "budget: {trials: 20, epochs: 10}   # epochs: how many reports a trial makes at most",
        "families:",
        f"  {reference}:",
        "    space:",
        *(f"      {parameter}: {_flow(definition)}" for parameter, definition in space.items()),
    ]
    return "\n".join(lines) + "\n"


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
