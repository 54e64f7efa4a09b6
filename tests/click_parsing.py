"""Whether a program of click's takes a command line: by its own parser, with nothing run."""

from __future__ import annotations

from typing import Any


def parse_command(group: Any, words: list[str]) -> None:
    """Raises click's error for an option or a command that there is not.

    Args:
        group: the program's.
        words: the command line, the program's name first.
    """
    context = group.make_context(words[0], list(words[1:]))
    while hasattr(group, "commands"):
        name, group, words = group.resolve_command(context, [*context._protected_args, *context.args])
        context = group.make_context(name, words, parent=context)
