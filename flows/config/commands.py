"""Families that are commands: their keys of the file, held against their space."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.config.family_entry import FamilyEntry
from flows.config.loading import SweepFile
from trainers.commands.options import check_command, read_command
from trainers.errors import InputError
from trainers.registry import BUILT_IN, COMMAND

if TYPE_CHECKING:
    from infra.spec import FamilySpec
    from search_spaces.space import Space
    from trainers.types import JsonObject

_KEYS = ("args", "metrics", "resume", "resume_from", "keep", "predict", "load", "build", "config")


def code_reference(name: str, entry: FamilyEntry | None) -> str:
    """What a family's key of the file refers to: our own function where it is a command."""
    return COMMAND if entry is not None and entry.command is not None else name


def command_options(file: SweepFile, name: str, entry: FamilyEntry) -> JsonObject:
    """The options of a family that is a command."""
    path = ("families", name)
    if name in BUILT_IN or ":" in name:
        do = "choose a name of your own for the command"
        raise file.written.error_at(path, "not be the name of other code", repr(name), do)
    if entry.options:
        do = "write constants into space"
        raise file.written.error_at((*path, "options"), "be left out for a command", "options", do)
    if entry.metrics is None:
        do = "write metrics: {accuracy: 'acc=([0-9.]+)'}"
        raise file.written.error_at(path, "have metrics beside command", "none", do)
    written = {key: getattr(entry, key) for key in ("command", *_KEYS)}
    return {key: value for key, value in written.items() if value is not None}


def check_call(file: SweepFile, name: str, options: JsonObject, space: Space) -> None:
    """Refuses a command that cannot be called with its space's configurations."""
    conditional = [parameter.name for parameter in space.parameters if parameter.when]
    try:
        check_command(read_command(options), space.names, conditional)
    except InputError as error:
        raise file.locate_error(error, ("families", name)) from error


def refuse_command_keys(file: SweepFile, name: str, entry: FamilyEntry) -> None:
    """Refuses what only a command has."""
    for key in _KEYS:
        if getattr(entry, key) is not None:
            do = f"add command, or drop {key}"
            raise file.written.error_at(("families", name, key), "come with command", "none", do)


def warn_of_false_flags(family: FamilySpec) -> str:
    """What is false is said by no word, and a command whose own default is true would train with that."""
    from search_spaces.choices import Choices, Constant
    from search_spaces.space import Space

    command = read_command(family.options)
    if command.args != "dashes" or "${args}" not in command.command:
        return ""
    for parameter in Space.from_json(family.space).parameters:
        domain = parameter.domain
        values = domain.choices if isinstance(domain, Choices) else ()
        values = (domain.value,) if isinstance(domain, Constant) else values
        if any(value is False for value in values):
            do = f"args: switches writes --no-{parameter.name}"
            return f"a false {parameter.name} is left out, and the command's own default decides: {do}"
    return ""
