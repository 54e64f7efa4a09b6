"""A server's limits as a person gives them: a YAML file, and single ones on the command line."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields, replace
from pathlib import Path

from infra.errors import WrongInput
from infra.serving.limits import RequestLimits
from search_spaces.errors import YamlError
from search_spaces.nearest import advice
from search_spaces.strict_yaml import load_yaml, read_file
from trainers.types import Json

_KINDS = {known.name: float if "float" in str(known.type) else int for known in fields(RequestLimits)}


def read_limits(file: Path | None = None, given: Sequence[str] = ()) -> RequestLimits:
    """The defaults with what a file says, and then with what was given.

    Args:
        file: a mapping of `RequestLimits`' names.
        given: `NAME=VALUE` each.

    Raises:
        WrongInput: no such limit, or a value that cannot be one.
    """
    try:
        limits = RequestLimits() if file is None else _with_file(RequestLimits(), file)
        return _with_values(limits, _given_values(given))
    except YamlError as error:
        raise WrongInput(f"{error.file or file or '--limit'}: {error.must}", error.found, error.do) from error


def _with_file(limits: RequestLimits, file: Path) -> RequestLimits:
    document = read_file(file)
    value = document.value
    if not isinstance(value, dict):
        do = f"begin with {next(iter(_KINDS))}:"
        raise WrongInput(f"{file}: limits must be a mapping", repr(value)[:80], do)
    return _with_values(
        limits, [(f"{file}, line {document.line((name,))}: ", name, value[name]) for name in value]
    )


def _given_values(given: Sequence[str]) -> Iterable[tuple[str, str, Json]]:
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise WrongInput("--limit must be NAME=VALUE", repr(text[:80]), "write --limit rows=1000")
        yield "--limit ", name.strip(), load_yaml(value.encode("utf-8", "surrogatepass"), "--limit").value


def _with_values(limits: RequestLimits, values: Iterable[tuple[str, str, Json]]) -> RequestLimits:
    for where, name, value in values:
        kind = _KINDS.get(name)
        if kind is None:
            do = advice(str(name), _KINDS)
            raise WrongInput(f"{where}a limit must be one of a server's", repr(name)[:80], do)
        whole = "" if kind is float else "whole "
        if isinstance(value, bool) or not isinstance(value, (int, kind)) or not 0 < value < 2**53:
            raise WrongInput(f"{where}{name} must be a {whole}number above 0", repr(value)[:80])
        limits = replace(limits, **{name: kind(value)})  # type: ignore[arg-type]  # of the field's own kind
    return limits
