"""The reference of the Python API: the public names, whose docstrings mkdocstrings reads."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import velodrome

GROUPS = {
    "Prepare and run": ("new", "plan", "sweep", "submit", "confirm", "reproduce", "try_out"),
    "Ranges of a function's space": ("loguniform", "uniform", "integers", "choice"),
    "Look": ("status", "show", "logs", "compare", "report", "inspect", "export"),
    "Promote": ("promote", "approve", "rollback", "history", "card", "policy", "adopt"),
    "Use": ("predict", "serve", "drift", "explain"),
    "Change": ("extend", "compress", "retry", "stop", "remove", "gc"),
    "This installation": ("families", "schema", "doctor", "ui"),
    "Your own family": ("Family", "Options"),
}


def render() -> str:
    """Markdown: a section for each group, and in it a directive for each name.

    Raises:
        ValueError: a public name stands in no group.
    """
    grouped = {name for names in GROUPS.values() for name in names}
    if missing := set(velodrome.__all__) - grouped - {"__version__"}:
        raise ValueError(f"each public name must stand in a group, but {', '.join(sorted(missing))} does not")
    parts = []
    for title, names in GROUPS.items():
        parts.append(f"## {title}\n")
        parts += [f"::: velodrome.{name}\n" for name in names]
    parts.append("## What they return\n\n" + "\n".join(_directive(kind) for kind in results()))
    parts.append("## velodrome.model\n\n::: velodrome.model.Model\n")
    return "\n".join(parts)


def results() -> Iterator[type]:
    """The types that the functions return, in the order of the page, each once."""
    seen = set()
    for names in GROUPS.values():
        for function in (getattr(velodrome, name) for name in names):
            if inspect.isclass(function):
                continue
            kind = inspect.unwrap(function).__globals__.get(inspect.signature(function).return_annotation)
            if inspect.isclass(kind) and kind not in seen:
                seen.add(kind)
                yield kind


def _directive(kind: type) -> str:
    options = "    options:\n      show_root_full_path: false\n      members: false\n"
    return f"::: {kind.__module__}.{kind.__qualname__}\n{options}"
