"""The reference of the command line, from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from flows.cli.app import SECTIONS, app
from scripts.pages.markdown import code, table


def render() -> str:
    """Markdown: a section for each group of `velodrome --help`, and in it each command with all it takes."""
    group: Any = get_command(app)
    parts = []
    for section, functions in SECTIONS.items():
        parts.append(f"## {section}\n")
        parts += [_command(group.commands[function.__name__]) for function in functions]
    return "\n".join(parts)


def _command(command: Any) -> str:
    shown = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
    words = [_usage(parameter) for parameter in shown if parameter.param_type_name == "argument"]
    usage = " ".join(["velodrome", command.name, *words, "[OPTIONS]"])
    rows = [row for parameter in shown if (row := _row(parameter))]
    return "\n".join(_parts(command, usage, rows)) + "\n"


def _parts(command: Any, usage: str, rows: list[tuple[str, str, str]]) -> Iterator[str]:
    yield f"### velodrome {command.name}\n"
    yield f"{command.help}\n"
    yield f"```text\n{usage}\n```\n"
    yield table(("argument or option", "default", "meaning"), rows)
    if command.epilog:
        yield f"```console\n$ {command.epilog.removeprefix('Example: ')}\n```\n"


def _usage(parameter: Any) -> str:
    name = (parameter.metavar or parameter.name.upper()).strip("[].")
    repeated = f"{name}…" if parameter.nargs == -1 else name
    return repeated if parameter.required else f"[{repeated}]"


def _row(parameter: Any) -> tuple[str, str, str] | None:
    """What it is called, what it is where left out, and what it means; None for `--help`."""
    if parameter.name == "help":
        return None
    meaning = getattr(parameter, "help", None) or ""
    default = "required" if parameter.required else _default(parameter.default)
    if parameter.param_type_name == "argument":
        return code(_usage(parameter)), default, meaning
    value = "" if parameter.is_flag else f" {parameter.metavar or parameter.type.name.upper()}"
    names = ", ".join(code(name + value) for name in (*parameter.opts, *parameter.secondary_opts))
    return names, default, meaning


def _default(value: Any) -> str:
    if value in (None, False, (), ""):
        return "-"
    return "yes" if value is True else code(value)
