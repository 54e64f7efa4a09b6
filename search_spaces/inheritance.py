"""Spaces that extend others, by `extends` or by a name alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from search_spaces.choices import Constant
from search_spaces.errors import SpaceError
from search_spaces.files import open_space
from search_spaces.linking import link, overlay
from search_spaces.reading import Parameter, read_parameter
from search_spaces.values import ParamValue, json_value, short_repr

_MOST_ANCESTORS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Inheritance:
    """What becomes of inherited parameters."""

    fixed: Mapping[str, ParamValue] = field(default_factory=dict)
    dropped: frozenset[str] = frozenset()

    def apply(self, inherited: tuple[Parameter, ...]) -> tuple[Parameter, ...]:
        """Those that are left, some as constants."""
        kept = [p for p in inherited if p.name not in self.dropped]
        kept = [p for p in kept if not any(condition.parent in self.dropped for condition in p.when)]
        names = {parameter.name for parameter in kept}
        constants = {
            name: Parameter(name=name, domain=Constant(value=json_value(value, (name,))))
            for name, value in self.fixed.items()
            if name in names
        }
        return link(overlay(tuple(kept), constants)) if constants or len(kept) < len(inherited) else inherited


def read_space(
    mapping: ParamValue, base: Path | None, ancestors: tuple[Path, ...], changed: Inheritance
) -> tuple[Parameter, ...]:
    """A space's parameters, those that it extends before its own.

    Args:
        base: the folder that relative paths start from.
        ancestors: the files that led here.
        changed: what becomes of inherited parameters.
    """
    if isinstance(mapping, str):
        return changed.apply(_read_file(mapping, base, (), ancestors))
    if not isinstance(mapping, Mapping):
        raise SpaceError("a space must be a mapping, a name or a path", short_repr(mapping))
    inherited: tuple[Parameter, ...] = ()
    if "extends" in mapping:
        parent = mapping["extends"]
        if not isinstance(parent, str):
            raise SpaceError("extends must be a name or a path", short_repr(parent), key=("extends",))
        inherited = changed.apply(_read_file(parent, base, ("extends",), ancestors))
    own = {str(name): read_parameter(str(name), mapping[name]) for name in mapping if name != "extends"}
    return link(overlay(inherited, own))


def list_faults(mapping: Mapping[str, ParamValue]) -> list[SpaceError]:
    """What is wrong with each definition by itself: where reading a space has stopped at the first."""
    found = []
    for name in mapping:
        try:
            if name != "extends":
                read_parameter(str(name), mapping[name])
        except SpaceError as error:
            found.append(error)
    return found


def _read_file(
    reference: str, base: Path | None, key: tuple[str, ...], ancestors: tuple[Path, ...]
) -> tuple[Parameter, ...]:
    file = open_space(reference, base, key)
    resolved = file.path.resolve()
    if resolved in ancestors or len(ancestors) >= _MOST_ANCESTORS:
        chain = " → ".join(path.name for path in (*ancestors, resolved))
        raise SpaceError("extends must not lead back to itself", chain, "drop one", key=key)
    try:
        return read_space(file.mapping(), file.path.parent, (*ancestors, resolved), Inheritance())
    except SpaceError as error:
        if error.file is not None:
            raise
        line = file.document.line(error.key)
        path = str(file.path)
        raise SpaceError(error.must, error.found, error.do, key=error.key, file=path, line=line) from error
