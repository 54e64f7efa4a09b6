"""The reference of the Python API: the public names, whose docstrings mkdocstrings reads."""

from __future__ import annotations

import velodrome

GROUPS = {
    "Prepare and run": ("new", "plan", "sweep", "confirm", "reproduce", "try_out"),
    "Look": ("status", "show", "logs", "compare", "report", "export"),
    "Promote": ("promote", "approve", "rollback", "history", "policy", "adopt"),
    "Use": ("predict", "serve"),
    "Change": ("extend", "retry", "stop", "remove"),
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
    parts.append("## velodrome.model\n\n::: velodrome.model.Model\n")
    return "\n".join(parts)
